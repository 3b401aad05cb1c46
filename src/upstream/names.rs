//! Where the names of servers lead: asked once for all connections that are made at about the same time.
//!
//! The system's resolver answers on a thread of its own, one for each question; a hundred connections at once would have
//! a hundred threads ask the same.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Mutex as Turn,
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

/// What is known of names.
pub(super) struct Names {
    known: Mutex<HashMap<(String, u16), Arc<Name>>>,
    resolve: Resolve,
}

type Resolve = Arc<dyn Fn(&str, u16) -> io::Result<Arc<[SocketAddr]>> + Send + Sync>;

/// Who asks for a name holds it, and those who come meanwhile are told the same.
#[derive(Debug, Default)]
struct Name(Turn<Known>);

#[derive(Debug, Default)]
struct Known {
    found: Option<Found>,
    /// The question that was not answered while those who asked it had the patience: nobody asks it again beside it.
    asked: Option<JoinHandle<io::Result<Arc<[SocketAddr]>>>>,
}

#[derive(Clone, Debug)]
struct Found {
    at: Instant,
    /// Why there are none, if there are none.
    addresses: Result<Arc<[SocketAddr]>, (io::ErrorKind, Arc<str>)>,
}

impl Names {
    fn by(resolve: Resolve) -> Self {
        Self { known: Mutex::default(), resolve }
    }

    /// The addresses of `host`, in the order in which they are to be tried.
    ///
    /// # Cancellation
    /// The next who asks waits for the same answer.
    pub(super) async fn find(&self, host: &str, port: u16) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Arc::new([SocketAddr::new(address, port)]));
        }
        let begun = Instant::now();
        let name = self.known().entry((host.to_owned(), port)).or_default().clone();
        let mut turn = name.0.lock().await;
        let Known { found, asked } = &mut *turn;
        if let Some(found) = found.as_ref().filter(|found| found.is_good(begun)) {
            return found.told();
        }
        let asking = asked.get_or_insert_with(|| {
            let (resolve, host) = (self.resolve.clone(), host.to_owned());
            spawn_blocking(move || resolve(&host, port))
        });
        let addresses = asking.await.map_err(io::Error::other).flatten();
        *asked = None;
        let addresses = addresses.map_err(|error| (error.kind(), error.to_string().into()));
        found.insert(Found { at: Instant::now(), addresses }).told()
    }

    /// Has the name asked for anew: nobody was found where it leads.
    pub(super) fn forget(&self, host: &str, port: u16) {
        self.known().remove(&(host.to_owned(), port));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(String, u16), Arc<Name>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Names {
    fn default() -> Self {
        // By the system's resolver.
        Self::by(Arc::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect)))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Found {
    /// Whether it answers who has `asked` then: a failure, only those who were waiting for it.
    fn is_good(&self, asked: Instant) -> bool {
        match self.addresses {
            Ok(_) => self.at.elapsed() < FRESH,
            Err(_) => self.at >= asked,
        }
    }

    fn told(&self) -> io::Result<Arc<[SocketAddr]>> {
        let failure = |(kind, text): &(io::ErrorKind, Arc<str>)| io::Error::new(*kind, &**text);
        self.addresses.as_ref().map(Arc::clone).map_err(failure)
    }
}

/// How long an answer is good for: long enough for connections that are made together.
const FRESH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_is_asked_for_once_a_second_and_anew_when_it_led_nowhere() {
        let names = Names::default();
        let (one, two) = tokio::join!(names.find("localhost", 80), names.find("localhost", 80));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(Arc::ptr_eq(&one, &two) && !one.is_empty());
        assert!(one.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        let other = names.find("localhost", 81).await.unwrap();
        assert!(other.iter().all(|address| address.port() == 81));
        advance(FRESH / 2).await;
        assert!(Arc::ptr_eq(&one, &names.find("localhost", 80).await.unwrap()));
        names.forget("localhost", 80);
        let anew = names.find("localhost", 80).await.unwrap();
        assert!(!Arc::ptr_eq(&one, &anew));
        advance(FRESH).await;
        assert!(!Arc::ptr_eq(&anew, &names.find("localhost", 80).await.unwrap()));
    }

    #[tokio::test]
    async fn a_question_that_nobody_has_the_patience_for_is_not_asked_again_beside_itself() {
        let (answer, answers) = std::sync::mpsc::channel::<()>();
        let (answers, count) = (Mutex::new(answers), Arc::new(Mutex::new(0)));
        let counted = count.clone();
        let names = Names::by(Arc::new(move |_, port| {
            *counted.lock().unwrap() += 1;
            answers.lock().unwrap().recv().unwrap();
            Ok(Arc::new([SocketAddr::from(([192, 0, 2, 1], port))]))
        }));
        for _ in 0..20 {
            let found = names.find("slow.example", 80);
            assert!(timeout(Duration::from_millis(5), found).await.is_err());
        }
        answer.send(()).unwrap();
        assert_eq!(
            *names.find("slow.example", 80).await.unwrap(),
            ["192.0.2.1:80".parse().unwrap()]
        );
        assert_eq!(*count.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn an_address_is_no_name() {
        for (host, address) in [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80")] {
            let names = Names::default();
            let found = names.find(host, 80).await.unwrap();
            assert_eq!(*found, [address.parse().unwrap()]);
            assert!(names.known().is_empty());
        }
    }

    #[test]
    fn a_failure_is_told_to_those_who_waited_for_it_and_to_nobody_later() {
        let at = Instant::now();
        let failed = Found { at, addresses: Err((io::ErrorKind::NotFound, "no".into())) };
        assert!(failed.is_good(at - FRESH));
        assert!(!failed.is_good(at + Duration::from_millis(1)));
        assert_eq!(failed.told().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
