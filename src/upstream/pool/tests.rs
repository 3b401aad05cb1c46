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
async fn link(server: &Server<Body>) -> (Link<Body>, DuplexStream) {
    let (near, far) = duplex(1024);
    let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
    let task = Tasks::default().spawn(async move { drop(connection.await) });
    sender.ready().await.unwrap();
    (Link { sender, task, worker: 0, _one: server.links.clone() }, far)
}

fn find(server: &Server<Body>) -> Option<Use<Body>> {
    server.shelves.of(0).find(false)
}

fn is_found(server: &Server<Body>) -> bool {
    matches!(find(server), Some(Use::Link(_)))
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_used_again_for_four_seconds_and_then_closed() {
    let server = server();
    let (link, mut far) = link(&server).await;
    server.put_back(link);
    advance(POOL_IDLE).await;
    let Some(Use::Link(link)) = find(&server) else {
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
    let (link, mut far) = link(&server).await;
    server.put_back(link);
    let begun = Instant::now();
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    let took = begun.elapsed();
    assert!(took > POOL_IDLE && took <= POOL_IDLE + SWEEP, "{took:?}");
    assert!(!server.shelves.of(0).kept().is_swept || server.shelves.of(0).kept().idle.is_empty());
}

#[tokio::test]
async fn the_connection_that_came_back_last_is_used_first_and_closed_ones_are_not() {
    let server = server();
    let ((first, first_far), (second, mut second_far)) = (link(&server).await, link(&server).await);
    server.put_back(first);
    server.put_back(second);
    let Some(Use::Link(last)) = find(&server) else { panic!("two are idle") };
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
    server.shelves.of(0).kept().idle.iter().any(|(_, link)| !link.sender.is_closed())
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_another_worker_is_taken_by_who_is_alone_or_may_have_no_more() {
    let server = server();
    let ((first, _first_far), (second, _second_far)) = (link(&server).await, link(&server).await);
    // Both are there, so the server has as many as it takes requests.
    server.put_back(first);
    let under_way = [server.load.clone(), server.load.clone()];
    let borrowed = server.borrow(2).unwrap();
    server.put_back(borrowed);
    // It may have another: who has none makes one.
    drop(second);
    assert!(server.borrow(2).is_none());
    // Unless nobody has needed the other's for a while.
    advance(SPARE + Duration::from_millis(1)).await;
    let spare = server.borrow(2).unwrap();
    server.put_back(spare);
    drop(under_way);
    let _alone = server.load.clone();
    assert!(server.borrow(2).is_some());
}
