//! Towards the backends: which endpoints an arm has, which of them a request goes to, and the connections kept to
//! them. The control thread fills the [`endpoints`] tables; everything else here belongs to one worker each.

pub(crate) mod connect;
pub mod destinations;
mod ejection;
pub mod endpoints;
pub mod health;
pub mod in_flight;
pub mod pick;
pub(crate) mod pool;
pub mod services;
pub mod violations;

/// A backend's connection.
pub(crate) type BackendStream = tokio::net::TcpStream;
