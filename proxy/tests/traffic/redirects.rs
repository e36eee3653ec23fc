//! What a backend says of where things are, as its clients are to see it; `oracles/redirects` asks real servers.

use serde_json::json;

use crate::support::{Backend, TestProxy, release};

#[test]
fn the_prefix_and_the_backends_own_address_are_taken_off_wherever_an_answer_says_where_things_are()
{
    let backend = Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            let own = connection.reader.get_ref().local_addr().unwrap();
            let host = request.get("host").unwrap().to_owned();
            connection.send(format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{own}/v1/login?next=/v1/a\r\n\
                 Content-Location: http://{host}/v1/a\r\nRefresh: 3; url=/v1/b\r\n\
                 Set-Cookie: s=1; Path=/v1; HttpOnly\r\nSet-Cookie: t=2; Path=/v1/x\r\nSet-Cookie: u=3\r\n\
                 Content-Length: 0\r\n\r\n"
            ));
        }
    });
    let arms = json!({"arms": {"stable": {"pathPrefix": "/v1/"}}});
    let proxy = TestProxy::start(&[release(&[backend.address], arms)]);
    let mut client = proxy.client();
    // With a body, too: by then the request's head is gone.
    for body in [0, 100_000] {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {body}\r\n\r\n{}",
            "x".repeat(body)
        ));
        let answer = client.answer();
        assert_eq!(answer.all("location"), ["/login?next=/v1/a"]);
        assert_eq!(answer.all("content-location"), ["http://shop/a"]);
        assert_eq!(answer.all("refresh"), ["3; url=/b"]);
        assert_eq!(
            answer.all("set-cookie"),
            ["u=3", "s=1; Path=/; HttpOnly", "t=2; Path=/x"]
        );
    }
}

#[test]
fn a_redirect_to_elsewhere_goes_on_as_it_came() {
    let backend = Backend::start(|connection, _| {
        while connection.request().is_some() {
            connection.send(
                "HTTP/1.1 302 Found\r\nLocation:https://login.example.com/v1/a\r\nSet-Cookie: a=b; Path=/v1\r\n\
                 Content-Length: 0\r\n\r\n",
            );
        }
    });
    let proxy = TestProxy::to(backend.address);
    let answer = proxy.client().get("/");
    assert_eq!(answer.all("location"), ["https://login.example.com/v1/a"]);
    assert_eq!(answer.all("set-cookie"), ["a=b; Path=/v1"]);
}
