//! Memory of this process and of the device.

use burn::tensor::Device;

/// Watches how much memory one call takes at its peak beyond what was there before.
pub(crate) struct MemoryWatch {
    before: Option<u64>,
    device: Option<Device>,
}

impl MemoryWatch {
    /// Starts now. `device` has memory of its own; without one the process is watched.
    pub(crate) fn start(device: Option<&Device>) -> Self {
        let before = match device {
            Some(device) => reserved(device),
            // Linux forgets the peak so far. Elsewhere there is nothing to read.
            None => std::fs::write("/proc/self/clear_refs", "5")
                .ok()
                .and_then(|()| status_bytes("VmRSS:")),
        };
        Self { before, device: device.cloned() }
    }

    /// Bytes at the peak since the start; `None` where the system does not tell.
    pub(crate) fn peak(self) -> Option<u64> {
        let after = match &self.device {
            Some(device) => reserved(device),
            None => status_bytes("VmHWM:"),
        };
        Some(after?.saturating_sub(self.before?))
    }
}

/// What the device's pools hold; they keep pages, so it is the peak.
fn reserved(device: &Device) -> Option<u64> {
    device.memory_pool_usage().map(|usage| usage.bytes_reserved)
}

fn status_bytes(field: &str) -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, field)
}

/// Memory that programs may still take; `None` where the system does not tell.
pub(crate) fn available() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// All memory of the machine.
pub(crate) fn total() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// A line `field 123 kB`, in bytes.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_system_are_read() {
        let text = "VmPeak:\t  10 kB\nVmHWM:\t   2048 kB\n";
        assert_eq!(kibibytes(text, "VmHWM:"), Some(2 << 20));
        assert_eq!(kibibytes(text, "VmRSS:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_large_buffer_is_seen() {
        let watch = MemoryWatch::start(None);
        let buffer = vec![1_u8; 64 << 20];
        assert_eq!(buffer.iter().map(|&b| usize::from(b)).sum::<usize>(), 64 << 20);
        drop(buffer);
        if let Some(peak) = watch.peak() {
            // Other tests of the process allocate too, but not this much.
            assert!(peak > 60 << 20, "{peak}");
        }
    }
}
