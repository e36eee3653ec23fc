//! Requests and backends of every kind mixed at random: whatever happens beside it, an answer belongs to its request,
//! is whole or visibly not, and what must not be sent twice is not.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::json;

use crate::support::{Backend, Client, Incoming, Message, ProxyOptions, TestProxy, release};

/// A sequence of numbers that is the same each time (splitmix64).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    /// Mostly small, sometimes more than any buffer.
    fn size(&mut self) -> usize {
        let bound = [1, 10, 1_000, 20_000, 200_000][self.roll(5) as usize];
        self.roll(bound) as usize
    }
}

/// Bytes that only this request or answer has.
fn body(id: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice(id);
    (0..length)
        .map(|_| b"abcdefghijklmnop\r\n0123456789"[dice.roll(28) as usize])
        .collect()
}

/// What the backend does with a request; everything is drawn from the request's number.
#[derive(Debug)]
struct BackendScript {
    id: u64,
    method: &'static str,
    version: &'static str,
    keep_alive: bool,
    upload: usize,
    chunked: bool,
    expect: bool,
    download: usize,
    framing: u64,
    early: bool,
    interim: bool,
    status: u16,
    mishap: u64,
    says_close: bool,
    closes: bool,
    resets: bool,
}

impl BackendScript {
    fn of(id: u64) -> Self {
        let mut dice = Dice(id ^ 0x5555);
        let method = ["GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE"][dice.roll(7) as usize];
        let old = dice.one_in(8);
        let has_body = matches!(method, "POST" | "PUT");
        Self {
            id,
            method,
            version: if old { "1.0" } else { "1.1" },
            keep_alive: dice.one_in(2) || !old,
            upload: if has_body { dice.size() } else { 0 },
            chunked: has_body && !old && dice.one_in(2),
            expect: has_body && !old && dice.one_in(4),
            download: dice.size(),
            framing: dice.roll(3),
            early: dice.one_in(4),
            interim: dice.one_in(6),
            status: [200, 200, 200, 200, 404, 500, 204, 304][dice.roll(8) as usize],
            mishap: dice.roll(12),
            says_close: dice.one_in(8),
            closes: dice.one_in(8),
            resets: dice.one_in(8),
        }
    }

    fn bodiless(&self) -> bool {
        self.method == "HEAD" || matches!(self.status, 204 | 304)
    }

    fn idempotent(&self) -> bool {
        self.method != "POST"
    }

    fn request(&self, dice: &mut Dice) -> Vec<u8> {
        let Self {
            id,
            method,
            version,
            ..
        } = self;
        let mut bytes = format!("{method} /{id} HTTP/{version}\r\nHost: shop\r\n").into_bytes();
        if version == &"1.0" && self.keep_alive {
            bytes.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        if self.expect {
            bytes.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        let body = body(*id, self.upload);
        if self.chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            let mut rest = &body[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(1 + dice.size()));
                bytes.extend_from_slice(format!("{:x};x=y\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
                rest = after;
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else if matches!(*method, "POST" | "PUT") {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
        } else {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    /// The answer's head and body.
    fn answer(&self, dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
        let mut head = format!("HTTP/1.1 {} X\r\nX-Id: {}\r\n", self.status, self.id);
        if self.says_close || self.framing == 2 {
            head.push_str("Connection: close\r\n");
        }
        let body = body(!self.id, self.download);
        let (line, sent) = match self.framing {
            _ if self.status == 204 => (String::new(), Vec::new()),
            0 => (format!("Content-Length: {}\r\n", body.len()), body),
            1 => {
                let mut sent = Vec::new();
                let mut rest = &body[..];
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(rest.len().min(1 + dice.size()));
                    sent.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
                    sent.extend_from_slice(piece);
                    sent.extend_from_slice(b"\r\n");
                    rest = after;
                }
                sent.extend_from_slice(b"0\r\n\r\n");
                ("Transfer-Encoding: chunked\r\n".to_owned(), sent)
            }
            _ => (String::new(), body),
        };
        head.push_str(&line);
        head.push_str("\r\n");
        (
            head.into_bytes(),
            if self.bodiless() { Vec::new() } else { sent },
        )
    }
}

/// How often each request came to a backend as a whole.
type DeliveryCounts = Arc<Mutex<HashMap<u64, u32>>>;

/// Sends in pieces of any size.
fn send_in_pieces(connection: &mut Incoming, bytes: &[u8], dice: &mut Dice) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(1 + dice.size() * 4));
        connection.send(piece);
        if dice.one_in(10) {
            std::thread::yield_now();
        }
        rest = after;
    }
}

fn read_upload(connection: &mut Incoming, request: &mut Message, plan: &BackendScript) -> bool {
    if request.read_body(&mut connection.reader, false).is_err() {
        return false;
    }
    assert_eq!(request.body.len(), plan.upload, "{}", plan.id);
    assert!(
        request.body == body(plan.id, plan.upload),
        "{} got another's body",
        plan.id
    );
    true
}

/// Serves a connection as the plans of its requests say.
fn serve(connection: &mut Incoming, seen: &DeliveryCounts) {
    while let Some(mut request) = connection.head() {
        let id = request.target()[1..].parse().unwrap();
        let plan = BackendScript::of(id);
        assert_eq!(request.method(), plan.method);
        let mut dice = Dice(id ^ 0xaaaa);
        let before = {
            let mut seen = seen.lock().unwrap();
            let times = seen.entry(id).or_default();
            *times += 1;
            *times
        };
        if plan.mishap == 0 && before == 1 {
            return; // read and lost
        }
        if plan.interim {
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
        }
        if request.get("expect").is_some() {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        if !plan.early && !read_upload(connection, &mut request, &plan) {
            return;
        }
        let (head, answer) = plan.answer(&mut dice);
        if plan.mishap == 1 {
            return send_in_pieces(connection, &head[..head.len() / 2], &mut dice);
        }
        send_in_pieces(connection, &head, &mut dice);
        if plan.mishap == 2 && answer.len() > 1 {
            send_in_pieces(connection, &answer[..answer.len() / 2], &mut dice);
            return connection.reset();
        }
        send_in_pieces(connection, &answer, &mut dice);
        if plan.early && !read_upload(connection, &mut request, &plan) {
            return;
        }
        // Of a longer answer, some might be lost with the reset.
        if plan.resets && plan.framing != 2 && plan.download < 1_000 {
            return connection.reset();
        }
        if plan.says_close || plan.framing == 2 || plan.closes {
            return;
        }
    }
}

/// What became of the requests of one client.
#[derive(Default, Debug)]
struct ChaosTally {
    whole: u64,
    broken: u64,
    lost: u64,
    closed: u64,
}

/// Requests on their way, written beside the reading of answers. Joined, it tells whether it was told of a reset: the
/// kernel tells whoever asks first, and a reader that comes after sees an end.
type Writing = JoinHandle<bool>;

fn write_in_pieces(mut to: TcpStream, bytes: Vec<u8>, mut dice: Dice) -> Writing {
    std::thread::spawn(move || {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(1 + dice.size() * 10));
            if let Err(error) = to.write_all(piece) {
                return error.kind() == io::ErrorKind::ConnectionReset;
            }
            rest = after;
        }
        false
    })
}

/// Reads the answer to one request; whether the connection goes on.
fn read_answer(
    client: &mut Client,
    plan: &BackendScript,
    writing: &mut Option<Writing>,
    tally: &mut ChaosTally,
) -> bool {
    let mut head = loop {
        match client.head() {
            Ok(Some(head)) if head.status() < 200 => {
                assert!(
                    plan.version == "1.1" && (plan.interim || plan.expect),
                    "{}",
                    plan.id
                );
            }
            Ok(Some(head)) => break head,
            Ok(None) | Err(_) => {
                tally.closed += 1;
                return false;
            }
        }
    };
    let keeps = head.get("connection") != Some("close")
        && (plan.version == "1.1" || head.get("connection") == Some("keep-alive"));
    let Some(id) = head.get("x-id") else {
        assert_eq!(head.status(), 502, "{} {head:?}", plan.id);
        let sent_once = !plan.idempotent() || plan.upload > 0 || plan.chunked;
        assert!(plan.mishap <= 2 || sent_once, "{plan:?} {head:?}");
        tally.lost += 1;
        let has_body = plan.method != "HEAD";
        return (!has_body || client.body(&mut head).is_ok()) && keeps;
    };
    assert_eq!(id, plan.id.to_string(), "another's answer");
    assert_eq!(head.status(), plan.status);
    if plan.bodiless() {
        tally.whole += 1;
        return keeps;
    }
    let read = client.body(&mut head).and_then(|()| {
        let ended_by_close =
            head.get("content-length").is_none() && head.get("transfer-encoding").is_none();
        let reset = ended_by_close
            && writing
                .take()
                .is_some_and(|writing| writing.join().unwrap());
        if reset {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        }
    });
    if let Err(error) = read {
        assert_eq!(
            plan.mishap,
            2,
            "{plan:?} was cut after {}: {error}",
            head.body.len()
        );
        tally.broken += 1;
        return false;
    }
    assert!(
        head.body == body(!plan.id, plan.download),
        "{plan:?} got another's bytes or not all: {}",
        head.body.len()
    );
    assert!(
        plan.mishap != 2 || plan.download < 2,
        "{} {:?}",
        plan.id,
        head.fields
    );
    tally.whole += 1;
    keeps
}

fn ask(address: SocketAddr, requests: std::ops::Range<u64>, mut dice: Dice) -> ChaosTally {
    let mut tally = ChaosTally::default();
    let mut next = requests.start;
    while next < requests.end {
        let mut client = Client::connect(address);
        loop {
            let ahead = 1 + dice.roll(6);
            let plans: Vec<_> = (next..requests.end.min(next + ahead))
                .map(BackendScript::of)
                .collect();
            if plans.is_empty() {
                break;
            }
            // Nobody sends anything behind a request that ends the connection; and one that breaks off may take
            // answers with it that are still on their way.
            let breaks = plans
                .iter()
                .skip(1)
                .position(|plan| plan.mishap == 2)
                .map(|place| place + 1);
            let last = plans
                .iter()
                .position(|plan| !plan.keep_alive)
                .map(|place| place + 1);
            let plans = &plans[..plans
                .len()
                .min(breaks.unwrap_or(usize::MAX))
                .min(last.unwrap_or(usize::MAX))];
            let bytes: Vec<u8> = plans
                .iter()
                .flat_map(|plan| plan.request(&mut dice))
                .collect();
            let mut writing = Some(write_in_pieces(
                client.stream().try_clone().unwrap(),
                bytes,
                dice.clone(),
            ));
            dice.roll(2);
            let mut goes_on = true;
            for plan in plans {
                next += 1;
                goes_on = read_answer(&mut client, plan, &mut writing, &mut tally);
                if !goes_on {
                    break;
                }
            }
            if !goes_on {
                let _ = client.stream().shutdown(Shutdown::Both);
            }
            if let Some(writing) = writing {
                writing.join().unwrap();
            }
            if !goes_on {
                break;
            }
        }
    }
    tally
}

#[test]
fn an_answer_belongs_to_its_request_whatever_happens_beside_it() {
    let number =
        |name, default| std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap());
    let (rounds, seed) = (number("CHAOS_ROUNDS", 300), number("CHAOS_SEED", 0));
    let seen = DeliveryCounts::default();
    let backends: Vec<_> = (0..2)
        .map(|_| {
            let seen = Arc::clone(&seen);
            Backend::start(move |connection, _| serve(connection, &seen))
        })
        .collect();
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let mut proxy = TestProxy::with(
        ProxyOptions {
            workers: 2,
            ..ProxyOptions::default()
        },
        &[release(&addresses, json!({}))],
    );
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let address = proxy.address;
            let from = seed * 1_000_000_000 + client * 10_000_000;
            std::thread::spawn(move || ask(address, from..from + rounds, Dice(client)))
        })
        .collect();
    let mut sum = ChaosTally::default();
    for client in clients {
        let tally = client.join().unwrap();
        sum.whole += tally.whole;
        sum.broken += tally.broken;
        sum.lost += tally.lost;
        sum.closed += tally.closed;
    }
    for (id, times) in seen.lock().unwrap().iter() {
        let most = if BackendScript::of(*id).idempotent() {
            2
        } else {
            1
        };
        assert!(*times <= most, "{id} was sent {times} times");
    }
    assert!(
        sum.whole > 0 && sum.broken > 0 && sum.lost > 0 && sum.closed == 0,
        "{sum:?}"
    );
    proxy.wait_for("one outcome for each request", |counts| {
        counts
            .values()
            .flat_map(|counts| counts.outcomes.values())
            .sum::<u64>()
            == 8 * rounds
    });
}
