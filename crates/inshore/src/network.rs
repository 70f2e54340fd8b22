//! Whether the network is paid by the byte.
//!
//! On Linux NetworkManager is asked, over the system's message bus; where it does not run, nothing is known. So it is on other
//! systems: neither the standard library nor a crate that is already here tells it.

/// Asks whoever manages the network of this machine.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    #[cfg(all(feature = "network-manager", target_os = "linux"))]
    bus: Option<zbus::Connection>,
}

#[cfg(all(feature = "network-manager", target_os = "linux"))]
mod asked {
    use std::time::Duration;

    use zbus::proxy::MethodFlags;
    use zbus::zvariant::OwnedValue;
    use zbus::{Connection, Proxy};

    use super::Manager;

    /// An answer over the bus takes a millisecond; without one in this time there is none to wait for.
    const PATIENCE: Duration = Duration::from_secs(2);

    impl Manager {
        /// Whether the network is metered, if that can be told.
        pub(crate) async fn metered(&mut self) -> Option<bool> {
            let bus = match self.bus.take() {
                Some(bus) => bus,
                None => tokio::time::timeout(PATIENCE, Connection::system()).await.ok()?.ok()?,
            };
            match tokio::time::timeout(PATIENCE, ask(&bus)).await {
                Ok(Ok(told)) => {
                    self.bus = Some(bus);
                    in_words(told)
                }
                Ok(Err(error)) => {
                    tracing::trace!(%error, "NetworkManager did not say whether the network is metered");
                    // Only an answer shows that the bus is still there.
                    self.bus = matches!(error, zbus::Error::MethodError(..)).then_some(bus);
                    None
                }
                Err(_) => None,
            }
        }
    }

    /// The property `Metered` of NetworkManager's D-Bus API, since 1.2
    /// (<https://networkmanager.dev/docs/api/latest/gdbus-org.freedesktop.NetworkManager.html>). NetworkManager is not started for it.
    pub(super) async fn ask(bus: &Connection) -> zbus::Result<u32> {
        const NAME: &str = "org.freedesktop.NetworkManager";
        const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
        let manager = Proxy::new(bus, NAME, "/org/freedesktop/NetworkManager", PROPERTIES).await?;
        let flags = MethodFlags::NoAutoStart.into();
        let told: Option<OwnedValue> = manager.call_with_flags("Get", flags, &(NAME, "Metered")).await?;
        Ok(u32::try_from(told.ok_or(zbus::Error::InvalidReply)?)?)
    }

    /// `NMMetered`: 1 and 2 are certain, 3 and 4 are guessed (of a phone's hotspot, say); everything else is not known.
    pub(super) fn in_words(told: u32) -> Option<bool> {
        match told {
            1 | 3 => Some(true),
            2 | 4 => Some(false),
            _ => None,
        }
    }
}

#[cfg(not(all(feature = "network-manager", target_os = "linux")))]
impl Manager {
    /// Nobody is asked.
    #[expect(clippy::unused_async, reason = "on Linux there is somebody to wait for")]
    pub(crate) async fn metered(&mut self) -> Option<bool> {
        None
    }
}

#[cfg(all(test, feature = "network-manager", target_os = "linux"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::net::UnixStream;
    use zbus::Guid;
    use zbus::connection::Builder;

    use super::*;

    struct Scripted(Arc<AtomicU32>);

    #[zbus::interface(name = "org.freedesktop.NetworkManager")]
    impl Scripted {
        #[zbus(property)]
        fn metered(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn network_manager_is_asked_and_believed() {
        let told = Arc::new(AtomicU32::new(0));
        let (near, far) = UnixStream::pair().unwrap();
        let guid = Guid::generate();
        let manager = Builder::unix_stream(far)
            .server(guid)
            .unwrap()
            .p2p()
            .serve_at("/org/freedesktop/NetworkManager", Scripted(Arc::clone(&told)))
            .unwrap()
            .build();
        let bus = Builder::unix_stream(near).p2p().build();
        let (manager, bus) = tokio::join!(manager, bus);
        let (manager, mut asking) = (manager.unwrap(), Manager { bus: Some(bus.unwrap()) });
        let known =
            [(1, Some(true)), (2, Some(false)), (3, Some(true)), (4, Some(false)), (0, None), (9, None)];
        for (value, expected) in known {
            told.store(value, Ordering::Relaxed);
            assert_eq!(asking.metered().await, expected, "{value}");
        }
        assert!(asking.bus.is_some());
        // Whoever does not know the property is asked again; whoever is gone is not.
        let path = "/org/freedesktop/NetworkManager";
        assert!(manager.object_server().remove::<Scripted, _>(path).await.unwrap());
        assert_eq!(asking.metered().await, None);
        assert!(asking.bus.is_some());
        manager.close().await.unwrap();
        assert_eq!(asking.metered().await, None);
        assert!(asking.bus.is_none());
    }
}
