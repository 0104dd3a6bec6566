//! A client of HTTP/1 that does what it is told, and nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Status, type and body.
    pub(crate) fn parts(&self) -> (u16, &str, &str) {
        (self.status, self.header("content-type").unwrap_or_default(), &self.body)
    }
}

/// Gets a path.
pub(crate) fn get(address: &str, path: &str) -> Answer {
    request(address, "GET", path, &[], b"")
}

/// Posts a body.
pub(crate) fn post(address: &str, path: &str, body: &str) -> Answer {
    request(address, "POST", path, &[], body.as_bytes())
}

/// Sends a request and reads the answer.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut connection = Connection::open(address);
    let length = body.len().to_string();
    let mut all = vec![("connection", "close"), ("content-length", &length[..])];
    all.extend(headers);
    connection.send_head(address, method, path, &all);
    connection.send(body);
    connection.answer()
}

/// A connection, for those who want to do it piece by piece.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends the head of a request. A `host` among the headers replaces the address.
    pub(crate) fn send_head(&mut self, address: &str, method: &str, path: &str, headers: &[(&str, &str)]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str(&format!("host: {address}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.send((head + "\r\n").as_bytes());
    }

    /// Sends bytes. The server may have answered and gone before it has read them all.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Sends a chunk of a chunked body.
    pub(crate) fn send_chunk(&mut self, bytes: &[u8]) {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.send(&chunk);
    }

    /// Reads the head of the answer.
    pub(crate) fn head(&mut self) -> Answer {
        let status = self.line();
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Answer { status, headers, body: String::new() }
    }

    /// Reads a whole answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let body = match answer.header("content-length") {
            Some(length) => {
                let mut body = vec![0; length.parse().unwrap()];
                self.stream.read_exact(&mut body).unwrap();
                body
            }
            None => std::iter::from_fn(|| self.chunk()).flatten().collect(),
        };
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// The next chunk of a chunked answer; `None` at its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).unwrap();
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }

    /// The next chunk, as text.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8(self.chunk().expect("another chunk")).unwrap()
    }

    /// Which of `connections` is answered first. Nothing of the answer is taken.
    pub(crate) fn first_to_answer(connections: &mut [Self]) -> usize {
        let began = Instant::now();
        loop {
            for (at, connection) in connections.iter_mut().enumerate() {
                let stream = connection.stream.get_mut();
                stream.set_nonblocking(true).unwrap();
                let answered = stream.peek(&mut [0]).is_ok();
                stream.set_nonblocking(false).unwrap();
                if answered {
                    return at;
                }
            }
            assert!(began.elapsed() < PATIENCE, "none is answered");
            std::thread::yield_now();
        }
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).is_ok() && rest.is_empty()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
