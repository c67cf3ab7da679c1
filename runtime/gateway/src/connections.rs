//! How many connections there may be: in all, and from one address.
//!
//! The files of the log come first: connections get at most half of what the process may open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits::{ADDRESS_SHARE, CONNECTIONS_MAX, FILES_PER_CONNECTION, SCARCE_SHARE};

/// Counts connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    free: Arc<Semaphore>,
    n_max: usize,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The right to one connection, from any address.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// The right to one connection from one address.
#[derive(Debug)]
pub(crate) struct Seat {
    _place: Place,
    address: IpAddr,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Connections {
    /// As many as the limits of the process allow.
    pub(crate) fn of_process() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Self::new((files / FILES_PER_CONNECTION).clamp(1, CONNECTIONS_MAX))
    }

    /// So many.
    fn new(n_max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(n_max)), n_max, addresses: Arc::default() }
    }

    /// Waits until there may be one more. Those who wait outside wait in the kernel's queue.
    pub(crate) async fn place(&self) -> Place {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Place { _permit: permit.expect("the semaphore is never closed") }
    }

    /// Takes the place for an address; `None` if it has its share already. Addresses of this
    /// machine may take all: behind them are many clients.
    pub(crate) fn seat(&self, place: Place, address: IpAddr) -> Option<Seat> {
        let share = if address.is_loopback() { self.n_max } else { self.share() };
        let mut addresses = lock(&self.addresses);
        let n_seats = addresses.entry(address).or_default();
        if *n_seats >= share {
            return None;
        }
        *n_seats += 1;
        drop(addresses);
        Some(Seat { _place: place, address, addresses: Arc::clone(&self.addresses) })
    }

    fn share(&self) -> usize {
        (self.n_max / ADDRESS_SHARE).max(1)
    }

    /// Tells connections when to be less patient.
    pub(crate) fn scarcity(&self) -> Scarcity {
        Scarcity { free: Arc::clone(&self.free), n_free_min: self.n_max / SCARCE_SHARE }
    }

    /// Waits until all have ended, or as long as given. Whether all have.
    pub(crate) async fn ended(&self, wait_max: Duration) -> bool {
        let n_all = u32::try_from(self.n_max).expect("bounded by a constant");
        timeout(wait_max, self.free.acquire_many(n_all)).await.is_ok()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut addresses = lock(&self.addresses);
        if let Some(n_seats) = addresses.get_mut(&self.address) {
            *n_seats -= 1;
            if *n_seats == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

fn lock(addresses: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    // Each change is whole, so a table that a panic poisoned is still sound.
    addresses.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether connections are scarce.
#[derive(Clone, Debug)]
pub(crate) struct Scarcity {
    free: Arc<Semaphore>,
    n_free_min: usize,
}

impl Scarcity {
    /// They are.
    pub(crate) fn is_scarce(&self) -> bool {
        self.free.available_permits() < self.n_free_min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One address gets its share and not more; what it gives back it gets again.
    #[tokio::test(start_paused = true)]
    async fn addresses_have_their_share() {
        let connections = Connections::new(8);
        let scarcity = connections.scarcity();
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        let a = connections.seat(connections.place().await, far).unwrap();
        let b = connections.seat(connections.place().await, far).unwrap();
        assert!(connections.seat(connections.place().await, far).is_none());
        drop(a);
        let a = connections.seat(connections.place().await, far).unwrap();
        assert!(!scarcity.is_scarce());

        let mut rest = Vec::new();
        for _ in 0..6 {
            rest.push(connections.seat(connections.place().await, near).unwrap());
        }
        assert!(scarcity.is_scarce());
        assert!(timeout(Duration::from_secs(9), connections.place()).await.is_err());
        assert!(!connections.ended(Duration::from_secs(9)).await);
        drop((a, b, rest));
        assert!(connections.ended(Duration::ZERO).await);
        assert!(lock(&connections.addresses).is_empty(), "addresses must not pile up");
    }
}
