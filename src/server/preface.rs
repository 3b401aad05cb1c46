//! Which HTTP a client speaks that has not agreed on one by TLS.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time::sleep};

/// Whether the client begins with the preface of HTTP/2; takes nothing off the stream.
pub(super) async fn speaks_h2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; H2_PREFACE.len()];
    let mut pause = PREFACE_PAUSE;
    loop {
        let length = stream.peek(&mut start).await?;
        let start = start.get(..length).unwrap_or_default();
        if length == 0 || !H2_PREFACE.starts_with(start) {
            return Ok(false);
        }
        if length == H2_PREFACE.len() {
            return Ok(true);
        }
        // Peeking does not wait for more than there is. A preface comes in one piece, unless someone is playing: who
        // sends a part of it and no more must not keep us busy.
        sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_PAUSE: Duration = Duration::from_millis(10);
