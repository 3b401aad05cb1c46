use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, DuplexStream, duplex},
    time::advance,
};

use super::*;

type Body = Empty<Bytes>;

fn server() -> Arc<Server<Body>> {
    Arc::new(Server::new(Authority::from_static("upstream:1"), Tasks::default()))
}

/// A connection that waits for a request, and its far end.
async fn link() -> (Link<Body>, DuplexStream) {
    let (near, far) = duplex(1024);
    let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
    let task = Tasks::default().spawn(async move { drop(connection.await) });
    sender.ready().await.unwrap();
    (Link::new(sender, task), far)
}

fn is_found(server: &Server<Body>) -> bool {
    matches!(server.find(false), Some(Use::Link(_)))
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_used_again_for_four_seconds_and_then_closed() {
    let server = server();
    let (link, mut far) = link().await;
    server.put_back(link);
    advance(POOL_IDLE).await;
    let Some(Use::Link(link)) = server.find(false) else {
        panic!("it is idle for no longer than it may")
    };
    assert!(!is_found(&server));
    server.put_back(link);
    advance(POOL_IDLE + Duration::from_millis(1)).await;
    assert!(!is_found(&server));
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_is_closed_by_itself() {
    let server = server();
    let (link, mut far) = link().await;
    server.put_back(link);
    let begun = Instant::now();
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    let took = begun.elapsed();
    assert!(took > POOL_IDLE && took <= POOL_IDLE + SWEEP, "{took:?}");
    assert!(!server.shelf().is_swept || server.shelf().idle.is_empty());
}

#[tokio::test]
async fn the_connection_that_came_back_last_is_used_first_and_closed_ones_are_not() {
    let server = server();
    let ((first, first_far), (second, mut second_far)) = (link().await, link().await);
    server.put_back(first);
    server.put_back(second);
    let Some(Use::Link(last)) = server.find(false) else { panic!("two are idle") };
    last.cut();
    assert_eq!(second_far.read(&mut [0; 8]).await.unwrap(), 0);
    drop(first_far);
    // Its own task has to see it.
    while is_idle(&server) {
        tokio::task::yield_now().await;
    }
    assert!(!is_found(&server));
}

fn is_idle(server: &Server<Body>) -> bool {
    server.shelf().idle.iter().any(|(_, link)| !link.sender.is_closed())
}
