//! `tollgate run`, and how a command reads its `gateway.yaml`.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::{BAD_CONFIGURATION, fail, service, stop_signal};
use crate::{
    app::{Gateway, Watched},
    config::{Diagnostics, Settings, Source, watch::Watch},
    telemetry::Clock,
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
        tokio::select! {
            code = self.serve(sockets) => code,
            () = service::keep_alive() => ExitCode::FAILURE,
        }
    }

    async fn serve(self, sockets: Vec<TcpListener>) -> ExitCode {
        let settings = match load(&self.config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let gateway = match Gateway::start_with(settings, Clock::system(), sockets.into()).await {
            Ok(gateway) => gateway,
            Err(error) => return fail(&error),
        };
        for address in gateway.addresses() {
            info!(%address, "listening");
        }
        if let Some(address) = gateway.admin_address() {
            info!(%address, "admin port open");
        }
        let reloader = gateway.reloader(Source::file(self.config.clone()));
        let Watched { mut reload, hash, files } = gateway.watched();
        let mut watch = Watch::start(&self.config, reload.debounce, hash, files);
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => return fail(&error),
        };
        let mut rotations = match signal(SignalKind::user_defined1()) {
            Ok(rotations) => rotations,
            Err(error) => return fail(&error),
        };
        let mut stopping = std::pin::pin!(stop_signal());
        service::tell_ready();
        loop {
            tokio::select! {
                () = &mut stopping => break,
                () = watch.changed(), if reload.watch => {}
                _ = hangups.recv() => {}
                _ = rotations.recv() => {
                    gateway.reopen_logs();
                    continue;
                }
            }
            service::tell_reloading();
            // A file that reads as before may stand for something else now: all that it names is read anew.
            if reloader.reload().await.is_ok() {
                let now = gateway.watched();
                reload = now.reload;
                watch.follow(reload.debounce, now.hash, now.files);
            }
            service::tell_ready();
        }
        info!("stopping");
        service::tell_stopping();
        tokio::select! {
            () = gateway.stop() => ExitCode::SUCCESS,
            () = stop_signal() => {
                warn!("stopped at once, in the middle of what was under way");
                ExitCode::FAILURE
            }
        }
    }
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
