//! `surepass healthcheck`

use std::process::ExitCode;
use std::time::Duration;

use surepass::address::masked;
use surepass::http_client::innermost;
use url::Url;

use crate::Failure;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The URL to check, such as `http://127.0.0.1:8080/readyz`
    #[arg(value_parser = http_url)]
    url: Url,
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| "pass a whole URL, such as http://127.0.0.1:8080/readyz".to_owned())
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    surepass::tls::check_for(&arguments.url)?;
    super::block_on(async {
        let client = surepass::http_client::http()
            .timeout(Duration::from_secs(3))
            .build()?;
        let url = masked(arguments.url.as_str());
        match client.get(arguments.url.clone()).send().await {
            Ok(answer) if answer.status().is_success() => Ok(ExitCode::SUCCESS),
            Ok(answer) => Err(format!("{url} responded with {}", answer.status()).into()),
            Err(error) => Err(format!("{url} is not responding: {}", innermost(&error)).into()),
        }
    })
}
