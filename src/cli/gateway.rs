//! `tollgate run` and `routes`, and how a command reads its `gateway.yaml`.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::{BAD_CONFIGURATION, fail, say, service, stop_signal};
use crate::{
    app::{Gateway, Watched},
    config::{Diagnostics, Settings, Source, watch::Watch},
    pay::Terms,
    protocol::target::Target,
    route::{Access, Match, Route},
    telemetry::Clock,
};

/// Runs the gateway in the foreground.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The configuration.
    #[arg(short, long, default_value = "gateway.yaml")]
    config: PathBuf,
}

/// Lists the routes of a configuration, or tells which one takes a request.
#[derive(Debug, Args)]
pub(super) struct Routes {
    /// The configuration.
    #[arg(short, long, default_value = "gateway.yaml")]
    config: PathBuf,
    /// A request such as `GET /weather`.
    #[arg(long)]
    test: Option<String>,
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

impl Routes {
    pub(super) fn run(self) -> ExitCode {
        let settings = match load(&self.config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        match &self.test {
            Some(request) => test(&settings, request),
            None => {
                for route in settings.table.routes() {
                    say(&line(route, &settings));
                }
                ExitCode::SUCCESS
            }
        }
    }
}

fn test(settings: &Settings, request: &str) -> ExitCode {
    let Some((method, target)) = request.trim().split_once(' ') else {
        eprintln!("tollgate: expected a method and a path, as in --test \"GET /weather\"");
        return ExitCode::from(2);
    };
    let method = match http::Method::from_bytes(method.as_bytes()) {
        Ok(known) if !method.bytes().any(|byte| byte.is_ascii_lowercase()) => known,
        _ => {
            eprintln!("tollgate: `{method}` is no method such as `GET`, in upper case");
            return ExitCode::from(2);
        }
    };
    let answer = match Target::parse(target.trim()) {
        Err(ambiguous) => format!("400: {ambiguous}"),
        Ok(target) => match settings.table.find(&method, target.path()) {
            Match::Found(route) => line(route, settings),
            Match::WrongMethod { allow } => {
                format!("405: the path takes {}", allow.to_str().unwrap_or_default())
            }
            Match::LookAlike => {
                "400: it differs from a priced path only by its case or a last slash".to_owned()
            }
            Match::Unmatched => "404: no route takes it".to_owned(),
        },
    };
    say(&answer);
    ExitCode::SUCCESS
}

fn line(route: &Route, settings: &Settings) -> String {
    let asks = match &route.access {
        Access::Free => "free".to_owned(),
        Access::Denied(status) => format!("deny {}", status.as_u16()),
        Access::Priced(terms) => price(terms),
    };
    let upstream = settings.upstreams.get(route.upstream).map_or("-", |upstream| &upstream.name);
    format!("{:<40} {:<44} {}", route.pattern.to_string(), asks, upstream)
}

fn price(terms: &Terms) -> String {
    let offers = terms.offers.iter().map(|offer| {
        let amount = offer.amount.to_decimal(offer.asset.decimals);
        format!("{} {amount} {}", offer.method.as_str(), offer.asset.name)
    });
    offers.collect::<Vec<_>>().join(", ")
}

/// Reads a configuration in the environment of the process, behind which the `.env` file beside it stands.
pub(super) fn read(path: &Path) -> Result<Settings, Diagnostics> {
    Source::file(path.to_owned()).read()
}

/// Loads a configuration; mistakes and warnings go to stderr.
fn load(path: &Path) -> Result<Settings, ExitCode> {
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
