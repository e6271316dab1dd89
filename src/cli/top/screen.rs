//! The terminal: taken over, drawn on, and always given back as it was.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::crossterm::{execute, style::ResetColor};
use ratatui::layout::Rect;
use ratatui::{TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpgid, getpid, getppid, getsid, kill_process};
use tokio::sync::mpsc;

use super::draw::draw;
use super::look::Look;
use super::state::State;

/// Terminals that do not know their size.
const USUAL_SIZE: (u16, u16) = (80, 24);
/// Room for a whole frame, so that it is written at once.
const FRAME_BYTES: usize = 64 << 10;
/// How long the end may wait for the thread that reads keys.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Keys that wait to be handled; more wait in the terminal.
const KEYS_MAX: usize = 64;

/// Whether the terminal is ours: to leave its other screen twice would put the cursor where it was
/// when we came, over what a panic said.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Standard output without the lock and the line buffer of `std`: a panic may hold those.
fn output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// The terminal's other screen in raw mode; given back when this is dropped, and before a panic is
/// told.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<File>>>,
    area: Rect,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When it is gone, or refuses raw mode.
    pub fn open() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        let area = area();
        let options = TerminalOptions {
            viewport: Viewport::Fixed(area),
        };
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME_BYTES, output()?));
        let terminal = Terminal::with_options(backend, options)?;
        // From here on the terminal is given back, even if taking it over fails half-way.
        let screen = Self { terminal, area };
        take_over()?;
        Ok(screen)
    }

    /// Draws the state on the terminal as large as it is now.
    pub fn draw(&mut self, state: &mut State, look: Look) -> io::Result<()> {
        let now = area();
        if now != self.area {
            self.area = now;
            self.terminal.resize(now)?;
        }
        self.terminal.draw(|frame| draw(frame, state, look))?;
        Ok(())
    }

    /// Draws all cells at the next time: something else may have written on the terminal.
    pub fn refresh(&mut self) -> io::Result<()> {
        take_over()?;
        self.terminal.clear()
    }

    /// Gives the terminal to the shell until it says to go on. Without a shell that could do so, as
    /// below `kubectl exec`, nothing happens.
    pub fn suspend(&mut self) -> io::Result<()> {
        if has_job_control() {
            give_back();
            kill_process(getpid(), Signal::STOP)?;
        }
        self.refresh()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn area() -> Rect {
    let (columns, rows) = match size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns, rows),
        _ => USUAL_SIZE,
    };
    Rect::new(0, 0, columns, rows)
}

fn take_over() -> io::Result<()> {
    TAKEN.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    execute!(output()?, EnterAlternateScreen, EnableBracketedPaste, Hide)
}

/// A terminal that is gone needs no care, so errors mean nothing here.
fn give_back() {
    if !TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    if let Ok(mut out) = output() {
        let _ = execute!(
            out,
            ResetColor,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        let _ = out.flush();
    }
    let _ = disable_raw_mode();
}

/// Whether a shell of this session started this process in a group of its own.
fn has_job_control() -> bool {
    let Some(parent) = getppid() else {
        return false;
    };
    let is_same = getsid(Some(parent)).ok() == getsid(None).ok();
    is_same && getpgid(Some(parent)).ok() != getpgid(None).ok()
}

/// What the reader presses, from a thread that waits for it.
pub struct Keys {
    events: mpsc::Receiver<Event>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    /// Starts to read the terminal.
    pub fn listen() -> Self {
        let (sender, events) = mpsc::channel(KEYS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = std::thread::spawn(move || read_keys(&sender, &ended));
        Self {
            events,
            stop,
            thread: Some(thread),
        }
    }

    /// The next event; `None`: the terminal is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.events.close();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // Reading a terminal that went away meanwhile may never end: then the process ends without it.
        for _ in 0..4 {
            if thread.is_finished() {
                // It panicked: the hook has told so.
                let _ = thread.join();
                return;
            }
            std::thread::sleep(KEY_WAIT / 2);
        }
    }
}

fn read_keys(sender: &mpsc::Sender<Event>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) && wait_for_key() {
        let event = match event::poll(Duration::ZERO) {
            Ok(true) => event::read(),
            Ok(false) => continue,
            Err(error) => Err(error),
        };
        // An error is a terminal that is gone.
        let Ok(event) = event else { return };
        if sender.blocking_send(event).is_err() {
            return;
        }
    }
}

/// Waits a little for a key; `false`: the terminal is gone. crossterm itself would read a terminal that
/// is gone again and again without end.
fn wait_for_key() -> bool {
    let stdin = io::stdin();
    let mut terminal = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut terminal, Timespec::try_from(KEY_WAIT).ok().as_ref()) {
        Ok(_) => {
            let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
            !terminal[0].revents().intersects(gone)
        }
        Err(error) => error == Errno::INTR,
    }
}
