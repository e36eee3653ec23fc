//! Turns of connections that share a thread: whoever has had enough lets the others go on first.

use std::pin::pin;
use std::task::{Context, Poll};

/// Ends the task's turn. It goes on after the runtime has looked at its sockets: a task that only wakes itself would have
/// dozens of turns before another one's bytes are noticed. To be called within the runtime, with the task's own context.
pub(crate) fn end(cx: &mut Context<'_>) -> Poll<()> {
    pin!(tokio::task::yield_now()).poll(cx)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    use super::*;

    #[test]
    fn others_go_on_between_two_turns() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut sender = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (mut receiver, _) = listener.accept().await.unwrap();
            let received = Rc::new(Cell::new(false));
            let is_received = Rc::clone(&received);
            let other = tokio::task::spawn_local(async move {
                receiver.read_u8().await.unwrap();
                received.set(true);
            });
            // The other one waits for its byte by now.
            tokio::task::yield_now().await;
            sender.write_u8(7).await.unwrap();
            let mut turns = 0;
            while !is_received.get() {
                let mut over = false;
                poll_fn(|cx| {
                    if std::mem::replace(&mut over, true) {
                        Poll::Ready(())
                    } else {
                        end(cx)
                    }
                })
                .await;
                turns += 1;
            }
            assert!(turns < 10, "{turns} turns before a byte was noticed");
            other.await.unwrap();
        });
    }
}
