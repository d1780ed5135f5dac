//! `surepass healthcheck`

use std::process::ExitCode;
use std::time::Duration;

use crate::Failure;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The address to ask, such as `http://127.0.0.1:8080/readyz`
    url: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    super::block_on(async {
        let client = surepass::outbound::http()
            .timeout(Duration::from_secs(3))
            .build()?;
        let status = client.get(&arguments.url).send().await?.status();
        if status.is_success() {
            return Ok(ExitCode::SUCCESS);
        }
        Err(format!("{} answered {status}", arguments.url).into())
    })
}
