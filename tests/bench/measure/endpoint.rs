//! Where events are sent to, whatever kind of socket it is.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

/// How to reach the server: `unix:PATH`, `unixgram:PATH`, `tcp:ADDRESS` or `udp:ADDRESS`.
#[derive(Clone, Debug)]
pub enum Address {
    Unix(String),
    Unixgram(String),
    Tcp(String),
    Udp(String),
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, place) = text.split_once(':').unwrap_or_default();
        match kind {
            "unix" => Ok(Self::Unix(place.into())),
            "unixgram" => Ok(Self::Unixgram(place.into())),
            "tcp" => Ok(Self::Tcp(place.into())),
            "udp" => Ok(Self::Udp(place.into())),
            _ => Err("must begin with unix:, unixgram:, tcp: or udp:".to_owned()),
        }
    }
}

/// One connection, or a socket that sends datagrams to one place.
pub enum Endpoint {
    Unix(UnixStream),
    Unixgram(UnixDatagram),
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Endpoint {
    pub fn connect(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Unix(path) => Self::Unix(UnixStream::connect(path)?),
            Address::Unixgram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Self::Unixgram(socket)
            }
            Address::Tcp(place) => {
                let stream = TcpStream::connect(place)?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
            Address::Udp(place) => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.connect(place)?;
                Self::Udp(socket)
            }
        })
    }

    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.set_nonblocking(on),
            Self::Unixgram(socket) => socket.set_nonblocking(on),
            Self::Tcp(socket) => socket.set_nonblocking(on),
            Self::Udp(socket) => socket.set_nonblocking(on),
        }
    }

    /// One send; returns the bytes taken.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.write(bytes),
            Self::Unixgram(socket) => socket.send(bytes),
            Self::Tcp(socket) => socket.write(bytes),
            Self::Udp(socket) => socket.send(bytes),
        }
    }

    /// Sends all of it; false if there was no room for the beginning. What was begun is brought to
    /// its end, as a client must: half a line would spoil the next one.
    pub fn send_all(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.send(&bytes[sent..]) {
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && sent == 0 => {
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_micros(20));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads until `lines` lines have come; for servers that answer.
    pub fn read_lines(&mut self, lines: u64) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let mut seen = 0;
        while seen < lines {
            let length = match self {
                Self::Unix(socket) => socket.read(&mut buffer)?,
                Self::Tcp(socket) => socket.read(&mut buffer)?,
                Self::Unixgram(_) | Self::Udp(_) => return Ok(()),
            };
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if buffer[0] == b'-' {
                let text = String::from_utf8_lossy(&buffer[..length]);
                return Err(io::Error::other(text.into_owned()));
            }
            seen += memchr::memchr_iter(b'\n', &buffer[..length]).count() as u64;
        }
        Ok(())
    }

    /// Loads a script into Redis and returns its hash.
    pub fn load_script(&mut self, script: &str) -> io::Result<String> {
        let command = format!(
            "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n${}\r\n{script}\r\n",
            script.len()
        );
        self.send_all(command.as_bytes())?;
        let mut buffer = [0; 256];
        let length = match self {
            Self::Unix(socket) => socket.read(&mut buffer)?,
            Self::Tcp(socket) => socket.read(&mut buffer)?,
            Self::Unixgram(_) | Self::Udp(_) => 0,
        };
        let answer = String::from_utf8_lossy(&buffer[..length]);
        let hash = answer.split("\r\n").nth(1).filter(|hash| hash.len() == 40);
        hash.map(str::to_owned)
            .ok_or_else(|| io::Error::other(format!("the script was refused: {answer}")))
    }
}
