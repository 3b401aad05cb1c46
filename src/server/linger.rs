//! Closing without cutting off what was said last.
//!
//! An answer may go out before the request's body has come in: a 402 never waits for a body. If the connection were
//! closed there and then, what the client still sends would be met by a reset, which can overtake the answer. So it is
//! read and thrown away for a while.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::stream::Stream;

/// Ends a stream: says that no more will be sent, and waits for the client to say the same.
pub(super) async fn linger(stream: Stream) {
    // A client that is gone already, or stays for ever, is no concern any more.
    drop(timeout(LONGEST, read_out(stream)).await);
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
