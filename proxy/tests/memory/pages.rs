//! What the admin pages hold while strangers ask for the largest of them and read nothing.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use halftone_proxy::run::{DocumentSource, Proxy};
use halftone_proxy::settings::Settings;
use halftone_proxy::source::{Content, files};
use halftone_routing::document::parse::Format;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::{Client, PATIENCE, release};
use crate::{alone, growth};

const RELEASES: usize = 1_000;
/// As many as there are places but one, from addresses that have a quarter of the places each.
const READERS: usize = 255;
const FROM_ONE_ADDRESS: usize = 64;
/// What pages may hold that nobody reads: a few copies, and what is on its way to each reader.
const BYTES_FOR_PAGES: usize = 80 << 20;
/// A copy for each reader of pages as long as this would take three times that.
const LEAST_PAGE: usize = 1 << 20;

fn document(n: usize) -> (Arc<str>, Content) {
    let name = format!("release-{n:04}");
    let nobody = [SocketAddr::from(([10, 0, 0, 1], 80))];
    let own = json!({"uid": format!("local/shop/{name}"), "name": name});
    let values: Vec<_> = (0..20)
        .map(|n| format!("user-{n}@{name}.example.com"))
        .collect();
    let condition =
        json!({"source": "Header", "name": "X-User", "operator": "In", "values": values});
    let rule = json!({"name": "staff", "to": "Stable", "when": [{"all": [condition]}]});
    let hosts = [format!("{name}.example.com")];
    let document = release(
        &nobody,
        json!({"release": own, "hosts": hosts, "rules": [rule]}),
    );
    (
        format!("{name}.json").into(),
        Content::Text(Format::Json, document.to_string().into_bytes().into()),
    )
}

/// A connection from one of this machine's many addresses.
fn connect(from: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)).into())
        .unwrap();
    // With small segments the kernel takes little of an answer ahead of its reader.
    socket.set_tcp_mss(1 << 10).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(mut stream: &TcpStream, page: &str) {
    write!(stream, "GET {page} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
}

#[test]
fn large_pages_that_nobody_reads_take_no_more_memory_than_a_few_copies() {
    let _alone = alone();
    let any = "127.0.0.1:0".parse().unwrap();
    let documents = files::documents((0..RELEASES).map(document).collect());
    let proxy = Proxy::start(
        &Settings::new(any, Some(any)),
        DocumentSource::Memory(documents),
    )
    .unwrap();
    let admin = proxy.admin_address().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while Client::connect(admin).get("/readyz").status() != 200 {
        assert!(Instant::now() < deadline, "it becomes ready");
    }
    for page in ["/config?full", "/metrics"] {
        let reader = connect(1, admin);
        ask(&reader, page);
        let length = Client::over(reader).answer().body.len();
        assert!(length >= LEAST_PAGE, "{page} is large: {length}");
        let mut readers = Vec::with_capacity(READERS);
        let held = growth(|| {
            for n in 0..READERS {
                let reader = connect(2 + u8::try_from(n / FROM_ONE_ADDRESS).unwrap(), admin);
                ask(&reader, page);
                readers.push(reader);
            }
            // Each has got something of its answer, or lost its place.
            readers.iter().for_each(|reader| _ = reader.peek(&mut [0]));
        });
        println!("{held} bytes more for {READERS} readers of {page}, {length} bytes long");
        assert!(held <= BYTES_FOR_PAGES, "{page}: {held}");
    }
}
