//! `surepass jobs`

mod act;
mod arguments;
mod list;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use secrecy::ExposeSecret;
use surepass::address::masked;
use surepass::config::{QueueName, Settings};
use surepass::fulfil;
use surepass::operator::{OperatorError, PLAIN_FIELDS};
use surepass::queue::inspector::{Act, InspectError, Inspector};
use surepass::queue::{Queue, QueueError, Redis, RedisOptions};
use surepass::tls::distrust;

use super::terminal::safe;
use super::{block_on, misuse, open_for_reading, tenant};
use crate::Failure;

pub(super) use act::who;
pub(crate) use arguments::Command;
use arguments::FilterArguments;

/// How long the store may take to list a tenant's names.
const STORE: Duration = Duration::from_secs(2);

pub(crate) fn run(settings: &Settings, mut command: Command) -> Result<ExitCode, Failure> {
    block_on(async {
        let inspector = inspector(settings)?;
        if let Some(filter) = command.filter() {
            name_tenant(settings, filter).await;
        }
        let done = match command {
            Command::List(arguments) => list::run(&inspector, arguments).await,
            Command::Show(arguments) => show::run(settings, &inspector, &arguments).await,
            Command::Retry(arguments) => act::act(settings, &inspector, Act::Retry, arguments.meant()).await,
            Command::Discard(arguments) => {
                act::act(settings, &inspector, Act::Discard, arguments.meant()).await
            }
            Command::Pause(arguments) => act::pause_or_resume(settings, &inspector, true, arguments).await,
            Command::Resume(arguments) => act::pause_or_resume(settings, &inspector, false, arguments).await,
        };
        let error = match done {
            Err(error) => match error.downcast::<OperatorError>().map(|error| *error) {
                Ok(OperatorError::Inspect(error)) => error.into(),
                Ok(error) => error.into(),
                Err(error) => error,
            },
            done => return done,
        };
        match error.downcast::<InspectError>() {
            Ok(error) => explain(settings, &error),
            Err(error) => Err(error),
        }
    })
}

/// A job carries any of its tenant's names: the one in its session, path or account. Where the store is away only the typed
/// name counts: Redis is enough to look at jobs.
async fn name_tenant(settings: &Settings, filter: &mut FilterArguments) {
    let Some(typed) = filter.tenant.as_deref() else {
        return;
    };
    let asked = async {
        open_for_reading(settings)
            .await
            .ok()?
            .catalog()
            .known()
            .await
            .ok()
    };
    let Ok(Some(tenants)) = tokio::time::timeout(STORE, asked).await else {
        return;
    };
    let by_account = tenants
        .iter()
        .find(|one| one.stripe_account.as_deref() == Some(typed));
    match by_account.map_or_else(|| tenant::named(&tenants, typed), Ok) {
        Ok(tenant) => {
            filter.tenant_names = vec![tenant.id.clone(), tenant.slug.clone()];
            filter.tenant_names.extend(tenant.stripe_account.clone());
        }
        Err(message) => filter.unknown_tenant = Some(message),
    }
}

/// Over all queues of this installation.
pub(super) fn inspector(settings: &Settings) -> Result<Inspector, Failure> {
    let redis = Redis::open(&settings.redis.url_or_default(), RedisOptions::default())?;
    let queues = QueueName::ALL
        .into_iter()
        .map(|name| Queue::new(&redis, settings.queue_config_of(name)))
        .collect::<Result<_, _>>()?;
    Ok(Inspector::new(queues).with_plain_fields(&PLAIN_FIELDS))
}

/// Reports what went wrong and what to do next; a request that cannot be fulfilled is wrong usage.
pub(super) fn explain(settings: &Settings, error: &InspectError) -> Result<ExitCode, Failure> {
    match error {
        InspectError::UnknownQueue(..) | InspectError::Cursor | InspectError::Filter(_) => {
            Ok(misuse(&safe(&error.to_string())))
        }
        InspectError::Queue(QueueError::Redis(cause)) if distrust(cause).is_some() => Err(format!(
            "REDIS_URL, `{}`: {}",
            masked(settings.redis.url_or_default().expose_secret()),
            safe(&error.to_string())
        )
        .into()),
        InspectError::Queue(QueueError::Redis(_) | QueueError::Timeout) => Err(format!(
            "{}. Next: start Redis, or correct REDIS_URL, `{}`. Accepted jobs are kept in its data",
            safe(&error.to_string()),
            masked(settings.redis.url_or_default().expose_secret())
        )
        .into()),
        error => Err(safe(&error.to_string()).into()),
    }
}

/// The ids of the jobs that were meant by what was typed: a bare session means all jobs that fulfil it.
async fn job_ids(inspector: &Inspector, typed: &str) -> Result<Vec<String>, InspectError> {
    if !typed.starts_with("cs_") {
        return Ok(vec![typed.to_owned()]);
    }
    let mut ids = inspector.ids_of("fulfil", typed).await?;
    if ids.is_empty() {
        ids.push(fulfil::job_id(typed, None));
    }
    Ok(ids)
}
