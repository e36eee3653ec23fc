//! Redirects of real servers behind a `pathPrefix`: nginx puts its own port behind the host it was asked for, Python
//! answers with a path, Node says whatever its program says, frameworks with absolute addresses among it.

use std::path::Path;

use serde_json::json;

use crate::servers::{Server, program};
use crate::support::{TestProxy, release};

/// Asks for a path through a proxy that puts `/v1` before it; the answer's Location and Set-Cookie.
fn ask(server: &Server, host: &str, path: &str) -> (Option<String>, Vec<String>) {
    let arms = json!({"arms": {"stable": {"pathPrefix": "/v1"}}});
    let proxy = TestProxy::start(&[release(&[server.address], arms)]);
    let mut client = proxy.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let answer = client.answer();
    let cookies = answer
        .all("set-cookie")
        .into_iter()
        .map(str::to_owned)
        .collect();
    (answer.get("location").map(str::to_owned), cookies)
}

/// A directory `v1/dir`, for which servers send a client on to `v1/dir/`.
fn with_directory(root: &Path) {
    std::fs::create_dir_all(root.join("v1/dir")).unwrap();
}

#[test]
fn nginx_leads_back_to_the_host_that_was_asked() {
    let server = Server::start("nginx", |address, directory| {
        with_directory(directory);
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};", directory.join(kind).display()))
            .join(" ");
        let configuration = format!(
            "worker_processes 1; daemon off; master_process off; pid {root}/pid; error_log /dev/null;
            events {{ worker_connections 64; }}
            http {{ {temporary} access_log off; server {{
                listen {address}; root {root};
                location = /v1/own {{ return 302 http://{address}/v1/there; }}
                location = /v1/away {{ return 302 https://elsewhere.example/v1/there; }}
                location /v1/ {{ }}
            }} }}",
            root = directory.display(),
        );
        let path = directory.join("nginx.conf");
        std::fs::write(&path, configuration).unwrap();
        let mut command = program("nginx");
        command
            .arg("-e")
            .arg("/dev/null")
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(path);
        command
    });
    for host in ["shop.example.com", "shop.example.com:8443"] {
        assert_eq!(
            ask(&server, host, "/dir").0.as_deref(),
            Some("/dir/"),
            "asked as {host}"
        );
    }
    assert_eq!(ask(&server, "shop", "/own").0.as_deref(), Some("/there"));
    assert_eq!(
        ask(&server, "shop", "/away").0.as_deref(),
        Some("https://elsewhere.example/v1/there")
    );
}

#[test]
fn pythons_http_server_leads_back_to_the_path_that_was_asked() {
    let server = Server::start("python3", |address, directory| {
        with_directory(directory);
        let mut command = program("python3");
        let port = address.port().to_string();
        command
            .args([
                "-m",
                "http.server",
                &port,
                "--bind",
                "127.0.0.1",
                "--directory",
            ])
            .arg(directory);
        command
    });
    assert_eq!(ask(&server, "shop", "/dir").0.as_deref(), Some("/dir/"));
    assert_eq!(
        ask(&server, "shop", "/dir?q=/v1").0.as_deref(),
        Some("/dir/?q=/v1")
    );
}

/// Sends on to `/v1/login` by path, by the host it was asked for as Java frameworks do, and by its own address.
const NODE: &str = "
const [, , port] = process.argv;
require('http').createServer((request, response) => {
    const where = {
        '/v1/path': '/v1/login',
        '/v1/asked': `http://${request.headers.host}/v1/login`,
        '/v1/port': `http://${request.headers.host.split(':')[0]}:${port}/v1/login`,
        '/v1/own': `http://127.0.0.1:${port}/v1/login`,
        '/v1/localhost': `http://localhost:${port}/v1/login`,
    };
    response.writeHead(302, { Location: where[request.url], 'Set-Cookie': ['JSESSIONID=1; Path=/v1; HttpOnly', 'a=b'] });
    response.end();
}).listen(Number(port), '127.0.0.1');
";

#[test]
fn node_and_absolute_redirects_lead_back_to_where_the_client_asked() {
    if program("node").arg("--version").output().is_err() {
        println!("node is not installed; nothing is tried");
        return;
    }
    let server = Server::start("node", |address, directory| {
        let path = directory.join("server.js");
        std::fs::write(&path, NODE).unwrap();
        let mut command = program("node");
        command.arg(path).arg(address.port().to_string());
        command
    });
    for (path, location) in [
        ("/path", "/login"),
        ("/asked", "http://shop.example.com/login"),
        ("/port", "/login"),
        ("/own", "/login"),
        ("/localhost", "/login"),
    ] {
        let (seen, cookies) = ask(&server, "shop.example.com", path);
        assert_eq!(seen.as_deref(), Some(location), "{path}");
        assert_eq!(cookies, ["a=b", "JSESSIONID=1; Path=/; HttpOnly"], "{path}");
    }
}
