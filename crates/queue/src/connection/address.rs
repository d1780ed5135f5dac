//! What `REDIS_URL` may say.

use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates, TlsMode};

use super::super::QueueError;
use surepass_base::address::{masked, misspelled};

/// Where Redis is, and how to find it when it moves.
pub(super) enum Address {
    /// One server that stays where it is.
    Fixed(ConnectionInfo),
    /// The server that the sentinels call the master.
    Sentinel(Sentinels),
    /// The node of a cluster that holds the keys; these know it.
    Cluster(Vec<ConnectionInfo>),
}

/// The sentinels that know where a master is, and how to connect to it.
pub(super) struct Sentinels {
    pub(super) nodes: Vec<ConnectionInfo>,
    /// The name by which they know it.
    pub(super) master: String,
    pub(super) tls: Option<TlsMode>,
    /// What the master's certificate may be signed by; `None`: Mozilla's CAs.
    pub(super) certificates: Option<TlsCertificates>,
    /// The master's user, password and database.
    pub(super) redis: RedisConnectionInfo,
}

/// An address, and how many replicas must hold what is acknowledged.
pub(super) struct Parsed {
    pub(super) address: Address,
    pub(super) replicas: usize,
}

const SCHEMES: &str = "redis://, rediss://, redis+unix://, redis+sentinel:// or redis+cluster://";
const EXPECTED: &str = "redis://HOST:PORT, such as redis://127.0.0.1:6379";

fn wrong(what: impl Into<String>) -> QueueError {
    QueueError::Address(what.into())
}

/// Errors begin with the address, its password masked.
pub(super) fn parse(url: &str) -> Result<Parsed, QueueError> {
    let problem = match misspelled(url, EXPECTED) {
        Some(problem) => problem,
        None => match read(url) {
            Err(QueueError::Address(problem)) => format!("cannot be used: {problem}"),
            read => return read,
        },
    };
    Err(wrong(format!("`{}` {problem}", masked(url))))
}

fn read(url: &str) -> Result<Parsed, QueueError> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let kind = match scheme {
        "redis" | "rediss" => Kind::Server,
        "redis+unix" | "unix" => Kind::Socket,
        "redis+sentinel" | "rediss+sentinel" => Kind::Sentinels,
        "redis+cluster" | "rediss+cluster" => Kind::Nodes,
        _ => return Err(wrong(format!("its scheme is none of {SCHEMES}"))),
    };
    let secure = scheme.starts_with("rediss");
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (address, query) = match kind {
        Kind::Server | Kind::Socket => {
            let info = url.into_connection_info();
            let info = info.map_err(|error| wrong(error.to_string()))?;
            let query = query.split_once('#').map_or(query, |(query, _)| query);
            (Address::Fixed(info), Query::parse(query, kind)?)
        }
        Kind::Sentinels => {
            let query = Query::parse(query, kind)?;
            (sentinel(secure, user, hosts, path, &query)?, query)
        }
        Kind::Nodes => {
            let query = Query::parse(query, kind)?;
            if !matches!(path, "" | "0") {
                return Err(wrong("a cluster has one database only: leave its number out"));
            }
            let nodes = each(hosts, 6379, |host| node(secure, user, host, ""))?;
            (Address::Cluster(nodes), query)
        }
    };
    Ok(Parsed {
        address,
        replicas: query.replicas,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Server,
    Socket,
    Sentinels,
    Nodes,
}

fn sentinel(
    secure: bool,
    user: &str,
    hosts: &str,
    path: &str,
    query: &Query<'_>,
) -> Result<Address, QueueError> {
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err(wrong(
            "the name of the sentinels' master is missing: redis+sentinel://host:26379,host:26379/NAME",
        ));
    }
    // Only its user, password and database are used: where the master is, the sentinels know.
    let redis = node(secure, user, "localhost:1", database)?;
    let own = query.sentinel_password.map_or(String::new(), |password| {
        format!("{}:{password}", query.sentinel_user)
    });
    Ok(Address::Sentinel(Sentinels {
        nodes: each(hosts, 26379, |host| node(secure, &own, host, ""))?,
        master: master.to_owned(),
        tls: secure.then_some(TlsMode::Secure),
        certificates: None,
        redis: redis.redis_settings().clone(),
    }))
}

fn each(
    hosts: &str,
    port: u16,
    one: impl Fn(&str) -> Result<ConnectionInfo, QueueError>,
) -> Result<Vec<ConnectionInfo>, QueueError> {
    hosts
        .split(',')
        .map(|host| {
            if host.is_empty() {
                return Err(wrong("a host is missing between its commas"));
            }
            // The last colon of an IPv6 address without a port stands inside of its brackets.
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
            if has_port {
                one(host)
            } else {
                one(&format!("{host}:{port}"))
            }
        })
        .collect()
}

fn node(secure: bool, user: &str, host: &str, database: &str) -> Result<ConnectionInfo, QueueError> {
    let scheme = if secure { "rediss" } else { "redis" };
    let at = if user.is_empty() { "" } else { "@" };
    format!("{scheme}://{user}{at}{host}/{database}")
        .into_connection_info()
        .map_err(|error| wrong(error.to_string()))
}

#[derive(Default)]
struct Query<'a> {
    replicas: usize,
    sentinel_user: &'a str,
    sentinel_password: Option<&'a str>,
}

impl<'a> Query<'a> {
    fn parse(text: &'a str, kind: Kind) -> Result<Self, QueueError> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "replicas" => {
                    query.replicas = value.parse().map_err(|_| wrong("`replicas` is a whole number"))?;
                }
                "sentinel_user" if kind == Kind::Sentinels => query.sentinel_user = value,
                "sentinel_password" if kind == Kind::Sentinels => query.sentinel_password = Some(value),
                // These redis-rs has read.
                "protocol" if matches!(kind, Kind::Server | Kind::Socket) => {}
                "db" | "user" | "pass" if kind == Kind::Socket => {}
                _ => {
                    let shown: String = name.chars().take(20).collect();
                    return Err(wrong(format!("`{shown}` is no parameter of this address")));
                }
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(infos: &[ConnectionInfo]) -> Vec<String> {
        infos.iter().map(|info| info.addr().to_string()).collect()
    }

    #[test]
    fn sentinels_are_listed_by_commas_and_the_password_is_for_their_master() {
        let parsed = parse("redis+sentinel://app:p%40ss@a:1,b,[::1]:3/shop/2?replicas=1").unwrap();
        let Address::Sentinel(sentinels) = parsed.address else {
            panic!("no sentinels");
        };
        assert_eq!(hosts(&sentinels.nodes), ["a:1", "b:26379", "::1:3"]);
        assert!(
            sentinels
                .nodes
                .iter()
                .all(|one| one.redis_settings().password().is_none())
        );
        assert_eq!(
            (
                sentinels.master.as_str(),
                sentinels.tls.is_none(),
                parsed.replicas
            ),
            ("shop", true, 1)
        );
        assert_eq!(
            (sentinels.redis.username(), sentinels.redis.password()),
            (Some("app"), Some("p@ss"))
        );
        assert_eq!(sentinels.redis.db(), 2);
    }

    #[test]
    fn sentinels_have_a_password_of_their_own_where_one_is_given() {
        let parsed = parse("rediss+sentinel://a/shop?sentinel_user=u&sentinel_password=w").unwrap();
        let Address::Sentinel(sentinels) = parsed.address else {
            panic!("no sentinels");
        };
        let settings = sentinels.nodes[0].redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("u"), Some("w")));
        assert!(matches!(sentinels.tls, Some(TlsMode::Secure)));
    }

    #[test]
    fn each_node_of_a_cluster_gets_the_password_and_its_default_port() {
        let parsed = parse("redis+cluster://:secret@a:7000,b").unwrap();
        let Address::Cluster(nodes) = parsed.address else {
            panic!("no cluster");
        };
        assert_eq!(hosts(&nodes), ["a:7000", "b:6379"]);
        assert!(
            nodes
                .iter()
                .all(|node| node.redis_settings().password() == Some("secret"))
        );
    }

    #[test]
    fn one_server_may_have_replicas_too_and_what_redis_rs_reads_is_left_to_it() {
        for (url, replicas) in [
            ("redis://u:p@a:7000/2", 0),
            ("redis://u:p@a:7000/2?replicas=1", 1),
            ("rediss://u:p@a:7000/2?protocol=resp3&replicas=2#insecure", 2),
            ("redis+unix:///a/b.sock?db=2&user=u&pass=p&replicas=1", 1),
        ] {
            let parsed = parse(url).unwrap();
            let Address::Fixed(info) = parsed.address else {
                panic!("{url}: no server");
            };
            let settings = info.redis_settings();
            assert_eq!((parsed.replicas, settings.db()), (replicas, 2), "{url}");
            assert_eq!(
                (settings.username(), settings.password()),
                (Some("u"), Some("p")),
                "{url}"
            );
        }
    }

    #[test]
    fn a_bad_address_is_told_without_its_password() {
        for (url, told) in [
            (
                "amqp://u:hemmelig@host",
                "`amqp://***@host` cannot be used: its scheme is none of redis://",
            ),
            ("hemmelig", "`hem…` has no scheme: write it as redis://HOST:PORT"),
            ("foo", "`foo` has no scheme"),
            (
                "redis://:hemm#lig@127.0.0.1:6379",
                "`redis://***@127.0.0.1:6379` has `#` in its user name or password, where it ends the address: write %23",
            ),
            ("redis://u:hemmelig@host:port", ""),
            (
                "redis+sentinel://u:hemmelig@a:1,b:2",
                "name of the sentinels' master",
            ),
            ("redis+sentinel://u:hemmelig@a:1,,b/shop", "a host is missing"),
            ("redis+sentinel://u:hemmelig@a:x/shop", ""),
            ("redis+sentinel://u:hemmelig@a/shop/x", ""),
            ("redis+cluster://u:hemmelig@a/3", "one database only"),
            ("redis+cluster://u:hemmelig@", "a host is missing"),
            ("redis+cluster://u:hemmelig@a?replicas=many", "a whole number"),
            ("rediss://u:hemmelig@a?replicas=", "a whole number"),
            ("redis://u:hemmelig@a/2?replica=1", "`replica` is no parameter"),
            ("redis://u:hemmelig@a?db=2", "`db` is no parameter"),
            ("redis+unix:///a?pass=hemmelig&replicas=-1", "a whole number"),
            (
                "redis+cluster://u:hemmelig@a?sentinel_password=hemmelig",
                "no parameter",
            ),
        ] {
            let Err(error) = parse(url) else {
                panic!("{url} was taken");
            };
            let error = error.to_string();
            assert!(
                error.starts_with("REDIS_URL: `") && error.contains(told),
                "{url}: {error}"
            );
            assert!(!error.contains("hemmelig"), "{error}");
        }
    }
}
