//! Devices by name, checked before anything runs on them.

use std::fmt;

use burn::tensor::{Device, DeviceType};
use longtail_kernels::has_collectives;
use thiserror::Error;

/// A backend that a build can have.
struct Backend {
    name: &'static str,
    is_compiled: bool,
    description: &'static str,
    needs: &'static str,
}

const fn backend(
    name: &'static str,
    is_compiled: bool,
    description: &'static str,
    needs: &'static str,
) -> Backend {
    Backend { name, is_compiled, description, needs }
}

const BACKENDS: [Backend; 10] = [
    backend("flex", cfg!(feature = "flex"), "CPU, pure Rust; the default", "nothing"),
    backend("ndarray", cfg!(feature = "ndarray"), "CPU, by the ndarray crate", "nothing"),
    backend("cpu", cfg!(feature = "cpu"), "CPU, kernels compiled by CubeCL", "nothing"),
    backend(
        "wgpu",
        cfg!(feature = "wgpu"),
        "GPU, by the graphics API the system has",
        "a driver for Vulkan, Metal or DirectX 12",
    ),
    backend("vulkan", cfg!(feature = "vulkan"), "GPU, by Vulkan", "a Vulkan driver"),
    backend("metal", cfg!(feature = "metal"), "Apple GPU, by Metal", "macOS on an Apple GPU"),
    backend("webgpu", cfg!(feature = "webgpu"), "GPU, by WebGPU", "a driver for Vulkan or Metal"),
    backend("cuda", cfg!(feature = "cuda"), "NVIDIA GPU", "an NVIDIA GPU and its driver"),
    backend("rocm", cfg!(feature = "rocm"), "AMD GPU", "an AMD GPU and ROCm"),
    backend(
        REMOTE,
        cfg!(feature = "remote"),
        "devices of another machine",
        "the address of a server: remote:ws://HOST:PORT",
    ),
];

const REMOTE: &str = "remote";

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No backend has this name.
    #[error("unknown device {name:?}; usable here: {usable}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The devices that can be used.
        usable: String,
    },
    /// This build does not have the backend.
    #[error(
        "device {name:?} is not in this build; build with `--features {backend}`; usable here: {usable}"
    )]
    NotCompiled {
        /// What was asked for.
        name: String,
        /// Its backend.
        backend: &'static str,
        /// The devices that can be used.
        usable: String,
    },
    /// The backend is there, but the machine has no such device.
    #[error(
        "device {name:?} is not usable: the backend finds {found} such devices on this machine; usable here: {usable}"
    )]
    NotUsable {
        /// What was asked for.
        name: String,
        /// How many devices the backend finds.
        found: usize,
        /// The devices that can be used.
        usable: String,
    },
    /// A remote device without a server that answers.
    #[error("device {name:?}: {problem}")]
    Remote {
        /// What was asked for.
        name: String,
        /// What is wrong with the address, or what the connection says.
        problem: String,
    },
    /// Devices that can't train one model together.
    #[error(
        "devices {names:?} can't train together: {problem}; what can: CUDA devices \
         (`cuda:0,cuda:1`), and the devices of one server of CUDA devices \
         (`remote:ws://HOST:PORT,remote:ws://HOST:PORT#1`)"
    )]
    NotTogether {
        /// What was asked for.
        names: String,
        /// Which device is in the way.
        problem: String,
    },
    /// Devices can't be served.
    #[error("cannot serve devices: {problem}")]
    Server {
        /// What the server says.
        problem: String,
    },
}

/// A backend and what it finds on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendInfo {
    /// The name that [`device`] takes; `name:1` is the second device.
    pub name: &'static str,
    /// What it runs on.
    pub description: &'static str,
    /// What a machine must have for it.
    pub needs: &'static str,
    /// Whether this build has the backend.
    pub is_compiled: bool,
    /// How many devices it finds; 0 when it is not compiled.
    pub num_devices: usize,
}

impl fmt::Display for BackendInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.is_compiled, self.num_devices) {
            (false, _) => format!("not in this build (--features {})", self.name),
            (true, 0) => format!("no device found; needs {}", self.needs),
            (true, 1) => "usable".into(),
            (true, found) => {
                format!("usable, {found} devices: {0}:0 to {0}:{1}", self.name, found - 1)
            }
        };
        write!(f, "{:<8} {:<42} {state}", self.name, self.description)
    }
}

/// All backends, compiled or not, and the devices they find. Asks the drivers, so call it once.
pub fn backends() -> Vec<BackendInfo> {
    let info = BACKENDS.iter().map(|backend| BackendInfo {
        name: backend.name,
        description: backend.description,
        needs: backend.needs,
        is_compiled: backend.is_compiled,
        num_devices: found(backend.name).len(),
    });
    info.collect()
}

/// The devices of a list of names, such as `cuda:0,cuda:1`: those that train one model together,
/// each with its part of every batch.
///
/// # Errors
/// As [`device`], and if there are several that can't sum gradients among themselves: only CUDA
/// devices can, and devices of one remote server, if they are such devices.
pub fn devices(names: &str) -> Result<Vec<Device>, DeviceError> {
    let list: Vec<&str> = names.split(',').map(str::trim).collect();
    if let [name] = list[..] {
        return Ok(vec![device(name)?]);
    }
    let refuse = |problem: String| DeviceError::NotTogether { names: names.into(), problem };
    let first = group(list[0]);
    let mut devices = Vec::new();
    for name in &list {
        let device = device(name)?;
        if !has_collectives(&device) {
            return Err(refuse(format!("{name} has no way to sum tensors over devices")));
        }
        if group(name) != first {
            return Err(refuse(format!("{name} and {} have no way to each other", list[0])));
        }
        devices.push(device);
    }
    Ok(devices)
}

/// What devices that can sum tensors among themselves have in common: the backend or the server.
fn group(name: &str) -> &str {
    match name.strip_prefix("remote:") {
        Some(address) => address.split('#').next().unwrap_or(address),
        None => name.split(':').next().unwrap_or(name),
    }
}

/// The device of a name: a backend (`flex`, `wgpu`, `cuda` ...), one of its devices (`cuda:1`), or
/// a device of a server (`remote:ws://HOST:PORT`, the second `remote:ws://HOST:PORT#1`).
///
/// # Errors
/// If no backend has the name, this build lacks it, the machine has no such device, or the server
/// does not answer. The message lists what can be used.
pub fn device(name: &str) -> Result<Device, DeviceError> {
    #[cfg(feature = "remote")]
    if let Some(address) = name.strip_prefix("remote:") {
        return remote_device(name, address);
    }
    let (backend, index) = match name.split_once(':') {
        Some((REMOTE, _)) => (REMOTE, Some(0)),
        Some((backend, index)) => (backend, index.parse::<usize>().ok()),
        None => (name, Some(0)),
    };
    let known = BACKENDS.iter().find(|known| known.name == backend);
    let (Some(&Backend { name: backend, is_compiled, .. }), Some(index)) = (known, index) else {
        return Err(DeviceError::Unknown { name: name.into(), usable: usable() });
    };
    if !is_compiled {
        return Err(DeviceError::NotCompiled { name: name.into(), backend, usable: usable() });
    }
    let mut devices = found(backend);
    if index < devices.len() {
        Ok(devices.swap_remove(index))
    } else {
        let found = devices.len();
        Err(DeviceError::NotUsable { name: name.into(), found, usable: usable() })
    }
}

#[cfg(feature = "remote")]
fn remote_device(name: &str, address: &str) -> Result<Device, DeviceError> {
    let refuse = |problem: String| DeviceError::Remote { name: name.into(), problem };
    let (address, index) = match address.split_once('#') {
        Some((address, index)) => (address, index.parse::<usize>().ok()),
        None => (address, Some(0)),
    };
    let Some(index) = index.filter(|_| address.starts_with("ws://")) else {
        return Err(refuse(
            "not of the form remote:ws://HOST:PORT or remote:ws://HOST:PORT#1".into(),
        ));
    };
    let host = burn::remote::RemoteHost::websocket(address);
    let options = Device::remote_options(&host).device_index(index);
    options.init().map_err(|error| refuse(error.to_string()))
}

fn usable() -> String {
    let names = BACKENDS.iter().map(|backend| backend.name).filter(|name| !found(name).is_empty());
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none; this build has no backend".into() } else { names.join(", ") }
}

/// Devices that a compiled backend finds; opening one that is not found would panic later.
fn found(backend: &str) -> Vec<Device> {
    let kind: Option<DeviceType> = match backend {
        #[cfg(feature = "flex")]
        "flex" => Some(DeviceType::Flex),
        #[cfg(feature = "ndarray")]
        "ndarray" => Some(DeviceType::NdArray),
        #[cfg(feature = "cpu")]
        "cpu" => Some(DeviceType::Cpu),
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(DeviceType::Wgpu),
        #[cfg(feature = "vulkan")]
        "vulkan" => Some(DeviceType::Vulkan),
        #[cfg(feature = "metal")]
        "metal" => Some(DeviceType::Metal),
        #[cfg(feature = "webgpu")]
        "webgpu" => Some(DeviceType::WebGpu),
        #[cfg(feature = "cuda")]
        "cuda" => Some(DeviceType::Cuda),
        #[cfg(feature = "rocm")]
        "rocm" => Some(DeviceType::Rocm),
        _ => None,
    };
    kind.map(|kind| Device::enumerate(kind).into_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "flex")]
    fn the_default_is_usable() {
        assert!(device("flex").is_ok());
        assert!(device("flex:0").is_ok());
        let flex = backends().into_iter().find(|backend| backend.name == "flex").unwrap();
        assert_eq!((flex.is_compiled, flex.num_devices), (true, 1));
    }

    #[test]
    #[cfg(feature = "flex")]
    fn devices_without_collectives_train_alone() {
        assert_eq!(devices("flex").unwrap().len(), 1);
        let message = devices("flex, flex").unwrap_err().to_string();
        assert!(message.contains("flex has no way to sum tensors"), "{message}");
        assert!(message.contains("cuda:0,cuda:1"), "{message}");
        assert_eq!(group("cuda:1"), group("cuda"));
        assert_eq!(group("remote:ws://a:1#2"), "ws://a:1");
    }

    #[test]
    fn refusals_list_what_is_usable() {
        let message = |name| device(name).unwrap_err().to_string();
        assert!(message("gpu").starts_with("unknown device \"gpu\"; usable here: "));
        assert!(message("flex:x").starts_with("unknown device \"flex:x\"; usable here: "));
        #[cfg(feature = "flex")]
        assert!(message("flex:1").contains("finds 1 such devices"), "{}", message("flex:1"));
        #[cfg(not(feature = "remote"))]
        assert!(message("remote:ws://gpu:1").contains("build with `--features remote`"));
        #[cfg(feature = "remote")]
        assert!(
            message("remote:gpu").contains("remote:ws://HOST:PORT"),
            "{}",
            message("remote:gpu")
        );
        #[cfg(not(feature = "rocm"))]
        assert!(message("rocm").contains("build with `--features rocm`"), "{}", message("rocm"));
    }
}
