//! Fused forms on remote devices: the client sends an operation by its name, the server runs its own
//! fused form. A server must know the operations, so it is one made by [`device_server`].

mod losses;
mod roi_align;
mod wire;

use burn::backend::{Backend, DispatchDevice};
use burn::server::RemoteServer;
use burn::tensor::Device;
use burn_ir::BackendIr;

use crate::loss_backend::LossBackend;
use crate::roi_backend::RoiBackend;

/// A server of `devices` that knows the fused operations of this crate; serve it on a transport of
/// `burn::server`.
///
/// All devices belong to one backend. On a server without these operations the client must call
/// [`set_fused(false)`](crate::set_fused) first.
pub fn device_server(devices: Vec<Device>) -> RemoteServer {
    let kind = devices.first().map(|device| device.clone().inner());
    let server = RemoteServer::new(devices);
    match kind.as_ref().map(Device::as_dispatch) {
        #[cfg(feature = "flex")]
        Some(DispatchDevice::Flex(_)) => with_operations::<burn::backend::Flex>(server),
        #[cfg(feature = "cube")]
        Some(DispatchDevice::Cube(_)) => with_operations::<burn::backend::Cube>(server),
        _ => server,
    }
}

fn with_operations<B: Backend + BackendIr + LossBackend + RoiBackend>(
    server: RemoteServer,
) -> RemoteServer {
    let server = losses::register::<B>(server);
    roi_align::register::<B>(server)
}
