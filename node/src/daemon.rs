//! The daemon: starts everything in order, waits for a reason to stop, and stops everything in order.
//!
//! Start: config → lock → keys → listeners bound → storage and actors → listeners served → ready.
//! Drain: readiness off and nothing new accepted → requests under way finish → actors → telemetry. The listener for
//! health and metrics over TCP goes last, so that whoever watches can see the drain.

use std::{
    path::{Path, absolute},
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{Metrics as Instruments, System, SystemConfig, budget::Budget, replication};
use config::{Config, FILE_NAME, Loaded, Sources, TRANSFERS_BYTES};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{
        self, Node,
        connections::{self, Bounds},
        events::{self, Events},
        health::{self, Health},
        memory::Memory,
        socket::{Place, Socket},
    },
    api::Happening,
    args::this_node,
    client,
    command::Context,
    data_dir::{DataDir, Found, inspect, named_in_a_file},
    doctor::limits::too_few_descriptors,
    exit::Exit,
    failure::Failure,
    human,
    keys::Keys,
    over_tcp::OverTcp,
    page::Page,
    problem::Kind,
    reload::{Reload, Running},
    service,
    signals::{Hangup, Hangups, Signals},
    telemetry::{
        self,
        log::{self, Log},
        metrics::Metrics,
        otlp::{METRICS_INTERVAL, Otlp},
    },
};

/// Runs a node until it is told to stop or can't go on.
pub(crate) async fn run(context: &Context) -> Result<Exit, Failure> {
    let loaded = context.config()?;
    let observability = &loaded.config.observability;
    let otlp = Otlp::start(observability)?;
    let log = log::start(observability, context.output.colors_errors(), otlp.as_ref());
    let metrics = Metrics::new(otlp.as_ref())?;
    let outcome = run_watched(context, &loaded, &log, &metrics).await;
    telemetry::finish(log, metrics, otlp).await;
    outcome
}

/// What the actors are started with.
fn actors(config: &Config, keys: &Keys, metrics: &Metrics, working: Budget) -> Result<SystemConfig, Failure> {
    let author = Some(keys.author.key().clone());
    Ok(SystemConfig {
        replication: replication::Settings {
            config: config.replication,
            prove_within: config.integrity.prove_within,
            author,
            working,
        },
        integrity: config.integrity.clone(),
        cache_bytes_max: config.memory.fragment_cache_bytes,
        credential: Some(keys.credential()?),
        network: config.network.clone(),
        transfer_bytes_max: TRANSFERS_BYTES,
        metrics: Instruments::new(&metrics.meter()),
        ..SystemConfig::new(config.storage.clone(), keys.node.clone())
    })
}

async fn run_watched(
    context: &Context,
    loaded: &Loaded,
    log: &Log,
    metrics: &Metrics,
) -> Result<Exit, Failure> {
    let (mut signals, mut hangups) = (Signals::listen()?, Hangups::listen()?);
    if let Some(too_few) = too_few_descriptors() {
        tracing::warn!("{too_few}");
    }
    let keys = prepare(loaded)?;
    service::starting();
    let started = tokio::select! {
        started = Daemon::start(loaded, context.sources(), keys, metrics.clone(), log.clone()) => started,
        signal = signals.next() => {
            tracing::info!(signal, "told to stop before the start was complete");
            return Ok(Exit::Ok);
        }
    };
    let daemon = started?;
    service::ready();
    service::feed_watchdog(daemon.system.clone(), daemon.draining.clone());
    if loaded.config.observability.otlp_endpoint.is_some() {
        keep_gauges_true(daemon.watched.clone());
    }
    welcome(context, loaded, daemon.node.not_watched.borrow().is_none());
    let reason = daemon.until_told(&mut signals, &mut hangups).await;
    service::stopping(reason.as_ref().err());
    signals.exit_at_the_next();
    let drained = daemon.drain().await;
    reason.and(drained).map(|()| Exit::Ok)
}

/// The parts of a running daemon.
struct Daemon {
    node: Arc<Node>,
    system: System,
    watched: Health,
    /// Set when nothing new is accepted any more.
    draining: CancellationToken,
    /// Set when the actors have stopped.
    stopped: CancellationToken,
    admin: JoinHandle<()>,
    events: JoinHandle<()>,
    health: Option<JoinHandle<()>>,
}

impl Daemon {
    async fn start(
        loaded: &Loaded,
        sources: Sources,
        keys: Keys,
        metrics: Metrics,
        log: Log,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let config = &loaded.config;
        let (draining, stopped, stop) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        // Bound before the long work of opening the storage: a wrong socket or group shows at once. Served afterwards;
        // until then whoever connects waits.
        let (tcp, not_watched) = match config.observability.metrics_addr {
            Some(address) => {
                let (tcp, trouble) = OverTcp::at(address).await;
                (Some(tcp), trouble)
            }
            None => (None, watch::channel(None).1),
        };
        let place = Place {
            path: config.admin.socket.clone(),
            group: config.admin.socket_group.clone(),
            data_dir: config.node.data_dir.clone(),
        };
        let socket = Socket::bind(&place).await?;
        let working = Budget::new(config.memory.requests_bytes);
        let system = System::start(actors(config, &keys, &metrics, working.clone())?).await?;
        let health = Health {
            draining: draining.clone(),
            metrics: metrics.clone(),
            system: system.clone(),
            memory: Memory::new(working),
        };
        let events = Events::new(draining.clone());
        let running = Running { log, scrub: system.scrub.clone(), events: events.clone() };
        let node = Arc::new(Node {
            system: system.clone(),
            keys,
            events: events.clone(),
            memory: health.memory.clone(),
            reload: Arc::new(Reload::new(sources, loaded, running)),
            network: config.network.clone(),
            // Whoever asks for it works in another folder.
            data_dir: absolute(&config.node.data_dir).unwrap_or_else(|_| config.node.data_dir.clone()),
            started,
            not_watched,
            stop,
        });
        // From here on nothing fails: whatever runs is drained.
        let router = admin::router(Arc::clone(&node), health.clone());
        let watched = health.clone();
        let events = tokio::spawn(events::watch(system.clone(), node.data_dir.clone(), events));
        let serving = connections::serve(socket, router, CALLERS, metrics.clone(), draining.clone());
        let admin = tokio::spawn(serving);
        let health = tcp.map(|tcp| {
            let page = Page::new(health.clone(), started);
            let router = move |address| health::tcp_router(health, page, address);
            tokio::spawn(tcp.serve(router, metrics.clone(), stopped.clone()))
        });
        tracing::info!(node = %node.keys.node.id(), socket = %place.path.display(), "ready");
        Ok(Self { node, system, watched, draining, stopped, admin, events, health })
    }

    /// Waits for a signal, a request to stop, or an actor that can't be kept running. Meanwhile SIGHUP reloads.
    async fn until_told(&self, signals: &mut Signals, hangups: &mut Hangups) -> Result<(), Failure> {
        let reason = tokio::select! {
            signal = signals.next() => signal,
            () = reload_until_the_terminal_goes(hangups, &self.node.reload) => "the terminal has gone",
            () = self.node.stop.cancelled() => "a request",
            reason = fatal(self.system.standing.clone()) => {
                tracing::error!(reason, "the node can't go on");
                self.node.events.tell(Happening::Stopping { reason: reason.clone() });
                return Err(Failure::new(Kind::Internal, reason));
            }
        };
        tracing::info!(reason, "stopping");
        self.node.events.tell(Happening::Stopping { reason: reason.to_owned() });
        Ok(())
    }

    async fn drain(self) -> Result<(), Failure> {
        self.draining.cancel();
        joined(self.events).await;
        joined(self.admin).await;
        let drained = timeout(ACTORS_DEADLINE, self.system.drain()).await;
        self.stopped.cancel();
        if let Some(health) = self.health {
            joined(health).await;
        }
        tracing::info!("stopped");
        drained.map_err(|_| {
            let detail = "the actors did not stop in time, so they were cut off: the next start recovers";
            Failure::new(Kind::Internal, detail)
        })
    }
}

/// Takes hold of the data directory until the process ends, making it if need be, and reads the keys.
fn prepare(loaded: &Loaded) -> Result<Keys, Failure> {
    let path = &loaded.config.node.data_dir;
    let found = inspect(path)?;
    let fresh = matches!(found, Found::Missing | Found::Empty);
    if fresh && let Some(place) = named_in_a_file(loaded) {
        return Err(nothing_there(path, &place));
    }
    let data_dir = DataDir::open(path)?;
    if fresh {
        data_dir.write_new(FILE_NAME, config::example().as_bytes())?;
    }
    let keys = Keys::open(&data_dir)?;
    data_dir.into_lock().keep_until_exit();
    Ok(keys)
}

/// Whoever writes a data directory into a file means one that is there. When it is empty, its disk is not mounted, and
/// a node with new keys and no tesserae would take its place unnoticed.
fn nothing_there(path: &Path, place: &str) -> Failure {
    let (path, program) = (path.display(), this_node());
    let detail = format!(
        "the data directory {path} (named at {place}) is empty: if its disk is not mounted, mount it; \
         to begin a new node there, run `{program} init` first"
    );
    Failure::new(Kind::WrongDataDir, detail)
}

/// Reads the settings again at every SIGHUP, and returns when one came because the terminal has gone.
async fn reload_until_the_terminal_goes(hangups: &mut Hangups, reload: &Arc<Reload>) {
    while hangups.next().await == Hangup::Reload {
        // What came of it is in the log: nobody waits for an answer.
        let _ = reload.run("SIGHUP").await;
    }
}

/// Returns why the process must end, once it must.
async fn fatal(mut standing: watch::Receiver<actors::supervision::Standing>) -> String {
    match standing.wait_for(|standing| standing.fatal.is_some()).await {
        Ok(standing) => standing.fatal.clone().unwrap_or_default(),
        Err(_) => "the supervisor of the actors is gone".to_owned(),
    }
}

/// Whoever scrapes has the gauges brought up to date; nobody does before they are sent.
fn keep_gauges_true(health: Health) {
    tokio::spawn(async move {
        let mut ticks = interval(METRICS_INTERVAL / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while health.draining.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = health.measure().await {
                tracing::debug!(%error, "the gauges are not up to date");
            }
        }
    });
}

async fn joined(task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a part of the daemon fell");
    }
}

/// Tells a person what to type next.
fn welcome(context: &Context, loaded: &Loaded, is_watched: bool) {
    if !crate::output::is_watched() {
        return;
    }
    let program = human::quoted(client::program());
    let socket = human::quoted(&loaded.config.admin.socket);
    let page = loaded.config.observability.metrics_addr.filter(|address| is_watched && address.port() != 0);
    let page = page.map_or_else(String::new, |address| {
        format!("In a browser, http://{address}/ shows how it fares.\n\n")
    });
    context.output.remark(&format!(
        "\nThe node is ready. In another terminal:\n\n  \
         {program} --socket {socket} create PATH…   keep files and folders\n  \
         {program} --socket {socket} list           see what is kept\n\n\
         {page}Ctrl-C stops it.\n"
    ));
}

/// On the socket. Someone may read a while before taking more of a long text, or pause a film.
pub(crate) const CALLERS: Bounds =
    Bounds { connections: 128, silence: Duration::from_secs(600), drain: Duration::from_secs(30) };
const _: () = assert!(CALLERS.connections as u64 * connections::BYTES_MAX <= config::CONNECTIONS_BYTES);
/// How long the actors may take to write what they have accepted: a slow disk syncs within seconds.
const ACTORS_DEADLINE: Duration = Duration::from_secs(60);
