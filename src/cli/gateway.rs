//! `tollgate run`, and how a command reads its `gateway.yaml`.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::OnceLock,
};

use clap::Args;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{BAD_CONFIGURATION, fail, service, signals::Signals};
use crate::{
    app::{Gateway, raise_file_limit},
    config::{
        Diagnostics, Settings, Source,
        watch::{Cause, Watch},
    },
    telemetry::Clock,
    workers::Pulse,
};

/// Runs the gateway in the foreground.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The configuration.
    #[arg(short, long, default_value = "gateway.yaml")]
    config: PathBuf,
}

impl Run {
    /// Runs at these `sockets`, as far as the configuration listens where they are.
    pub(super) async fn run(self, sockets: Vec<TcpListener>) -> ExitCode {
        // There is none before there are workers.
        let pulse = OnceLock::new();
        tokio::select! {
            code = self.serve(sockets, &pulse) => code,
            () = service::keep_alive(|| pulse.get().is_none_or(Pulse::is_steady)) => ExitCode::FAILURE,
        }
    }

    async fn serve(self, sockets: Vec<TcpListener>, pulse: &OnceLock<Pulse>) -> ExitCode {
        // Before all that takes its time: until then a signal would end the process.
        let Signals { mut stop, mut hangups, mut rotations } = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return fail(&error),
        };
        raise_file_limit();
        let started = tokio::select! {
            biased;
            () = stop.asked() => {
                info!("stopped before anything was served");
                return ExitCode::SUCCESS;
            }
            started = start(self.config.clone(), sockets) => started,
        };
        let gateway = match started {
            Ok(gateway) => gateway,
            Err(code) => return code,
        };
        drop(pulse.set(gateway.pulse()));
        for address in gateway.addresses() {
            info!(%address, "listening");
        }
        if let Some(address) = gateway.admin_address() {
            info!(%address, "admin port open");
        }
        let reloader = gateway.reloader(Source::file(self.config.clone()));
        let mut watched = gateway.watched();
        let mut now = watched.borrow_and_update().clone();
        let mut watch = Watch::start(&self.config, now.reload.debounce, now.taken);
        service::tell_ready();
        loop {
            let cause = tokio::select! {
                biased;
                () = stop.asked() => break,
                // Whoever asked for the reload: the admin port does too.
                Ok(()) = watched.changed() => {
                    now = watched.borrow_and_update().clone();
                    watch.follow(now.reload.debounce, now.taken, now.tried);
                    continue;
                }
                cause = watch.changed(), if now.reload.watch => cause,
                _ = hangups.recv() => Cause::Change,
                _ = rotations.recv() => {
                    gateway.reopen_logs();
                    continue;
                }
            };
            service::tell_reloading();
            // A file that reads as before may stand for something else now: all that it names is read anew.
            let reloading = async {
                match cause {
                    Cause::Change => reloader.reload().await,
                    Cause::Retry => reloader.retry().await,
                }
            };
            // A file system that does not answer must not keep the gateway from stopping.
            tokio::select! {
                biased;
                () = stop.asked() => break,
                _ = reloading => {}
            }
            service::tell_ready();
        }
        info!("stopping");
        service::tell_stopping();
        tokio::select! {
            () = gateway.stop() => ExitCode::SUCCESS,
            () = stop.asked() => {
                warn!("stopped at once, in the middle of what was under way");
                ExitCode::FAILURE
            }
        }
    }
}

/// Starts a gateway by the configuration at `path`.
async fn start(path: PathBuf, sockets: Vec<TcpListener>) -> Result<Gateway, ExitCode> {
    let settings = spawn_blocking(move || load(&path)).await;
    let settings = settings.expect("reading reports what is wrong, and does not panic")?;
    let started = Gateway::start_with(settings, Clock::system(), sockets.into()).await;
    started.map_err(|error| fail(&error))
}

/// Reads a configuration in the environment of the process, behind which the `.env` file beside it stands.
pub(super) fn read(path: &Path) -> Result<Settings, Diagnostics> {
    Source::file(path.to_owned()).read()
}

/// Loads a configuration; mistakes and warnings go to stderr.
pub(super) fn load(path: &Path) -> Result<Settings, ExitCode> {
    match read(path) {
        Ok(settings) => {
            for warning in &settings.warnings {
                eprintln!("warning: {warning}");
            }
            Ok(settings)
        }
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            Err(ExitCode::from(BAD_CONFIGURATION))
        }
    }
}
