//! Closing without cutting off what was said last.
//!
//! An answer may go out before the request's body has come in: a 402 never waits for a body. If the connection were
//! closed there and then, what the client still sends would be met by a reset, which can overtake the answer. So it is
//! read and thrown away for a while.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::stream::Stream;

/// Ends a stream: says that no more will be sent, and waits for the client to say the same; once it is to `stop`, not for
/// long.
pub(super) async fn linger(stream: Stream, stop: &CancellationToken) {
    let stopped = async {
        stop.cancelled().await;
        sleep(QUIET).await;
    };
    tokio::select! {
        // A client that is gone already, or stays for ever, is no concern any more.
        ended = timeout(LONGEST, read_out(stream)) => drop(ended),
        () = stopped => {}
    }
}

async fn read_out(mut stream: Stream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut waste = [0; 8192];
    while let Ok(length) = timeout(QUIET, stream.read(&mut waste)).await {
        if length? == 0 {
            break;
        }
    }
    Ok(())
}

/// How long a client may take to end its side, and how long it may be silent meanwhile.
const LONGEST: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(2);
