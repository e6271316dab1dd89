//! `oncewatch top`: what the built-in page shows, in a terminal. A client of the admin API.
//!
//! Pure: [`state`] (what is known and looked at), [`keys`] (key to state), [`draw`] (state to cells).
//! Thin and impure: [`source`] (asks the sidecar), [`screen`] (the terminal), and the loop here.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::Event;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::flags::SettingFlags;
use super::{Environment, Failure};
use crate::config::Flags;
use crate::edge::clock;
use crate::edge::signal::Termination;
use keys::Request;
use look::Look;
use screen::{Keys, Screen};
use source::Source;
use state::State;
use wanted::Wanted;

mod answer;
mod cursor;
mod draw;
mod keys;
mod look;
mod once;
mod screen;
mod source;
mod state;
mod text;
mod wanted;

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  oncewatch top
  kubectl exec -it POD -c oncewatch -- oncewatch top
  oncewatch top --once                     one snapshot as text, for scripts and chats

Keys: ? lists them, q quits. NO_COLOR is honoured; words carry the meaning. On a terminal without
Unicode (TERM=vt100, LANG=C, or --ascii) the drawings use ASCII. Times are UTC.")]
pub struct Arguments {
    /// Address of the sidecar's page and JSON API [default: its own default]
    #[arg(long, value_name = "ADDRESS")]
    admin_addr: Option<String>,
    /// Print one snapshot as plain text and exit
    #[arg(long)]
    once: bool,
    /// Draw with ASCII alone
    #[arg(long)]
    ascii: bool,
}

/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// Answers that wait to be drawn.
const ANSWERS_MAX: usize = 8;

pub fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let address = address(arguments.admin_addr.as_deref(), environment)?;
    let look = Look::of(environment.lookup, arguments.ascii);
    let source = Source { address };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    if arguments.once {
        let text = runtime.block_on(once::snapshot(source, look))?;
        return Ok(io::stdout().lock().write_all(text.as_bytes())?);
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::Usage(format!(
            "top needs a terminal (kubectl exec needs -it); without one use top --once, or the JSON \
             API: curl http://{address}/api/v1/summary"
        )));
    }
    runtime
        .block_on(show(source, look))
        .map_err(|error| Failure::Failed(format!("the terminal: {error}")))
}

/// The flag, else what the sidecar's own settings say.
fn address(flag: Option<&str>, environment: &Environment<'_>) -> Result<SocketAddr, Failure> {
    let mut flags = Flags::new();
    if let Some(flag) = flag {
        flags.insert("admin-addr", vec![flag.to_owned()]);
        // Somebody else's metrics address is not in the way of an address that is only asked.
        flags.insert("metrics-addr", vec!["127.0.0.1:0".to_owned()]);
    }
    let settings = SettingFlags::<true>(flags).load(environment)?;
    Ok(settings.admin_addr)
}

fn local_time() -> f64 {
    clock::now().as_micros() as f64 / 1e6
}

/// The signals that end, stop or continue a program on a terminal.
struct Signals {
    termination: Termination,
    hangup: Signal,
    stop: Signal,
    resume: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let number = |signal: rustix::process::Signal| SignalKind::from_raw(signal.as_raw());
        Ok(Self {
            termination: Termination::listen()?,
            hangup: signal(SignalKind::hangup())?,
            stop: signal(number(rustix::process::Signal::TSTP))?,
            resume: signal(number(rustix::process::Signal::CONT))?,
        })
    }

    /// What the next signal asks for.
    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.termination.wait() => Request::Quit,
            _ = self.hangup.recv() => Request::Quit,
            _ = self.stop.recv() => Request::Suspend,
            _ = self.resume.recv() => Request::Redraw,
        }
    }
}

/// Shows how things are until the reader, or a signal, ends it.
async fn show(source: Source, look: Look) -> io::Result<()> {
    // Before the terminal is taken over: from here on no signal ends the process by itself.
    let mut signals = Signals::listen()?;
    let mut state = State::new(source.address.to_string());
    let (wanted, asked) = watch::channel(Wanted::default());
    let (sender, mut answers) = mpsc::channel(ANSWERS_MAX);
    let mut asking = std::pin::pin!(source.serve(asked, sender));
    let mut screen = Screen::open()?;
    let mut keys = Keys::listen();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        state.tick(local_time());
        screen.draw(&mut state, look)?;
        wanted.send_if_modified(|now| {
            let next = state.wanted();
            let is_new = *now != next;
            *now = next;
            is_new
        });
        let request = tokio::select! {
            event = keys.next() => {
                // The terminal is gone.
                let Some(event) = event else { return Ok(()) };
                                state.tick(local_time());
                take(event, &mut state)
            }
            Some(answer) = answers.recv() => {
                state.tick(local_time());
                state.answer(answer);
                None
            }
            request = signals.next() => Some(request),
            _ = ticks.tick() => None,
            // Nobody is left to ask: only when the channels are closed.
            () = &mut asking => return Ok(()),
        };
        match request {
            None => {}
            Some(Request::Quit) => return Ok(()),
            Some(Request::Suspend) => screen.suspend()?,
            Some(Request::Redraw) => screen.refresh()?,
        }
    }
}

fn take(event: Event, state: &mut State) -> Option<Request> {
    match event {
        Event::Key(key) => state.key(key),
        Event::Paste(text) => {
            state.paste(&text);
            None
        }
        _ => None,
    }
}
