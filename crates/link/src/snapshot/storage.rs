//! Where a feed's last good state is kept. On a node that is the disk ([`super::Store`]); the simulation
//! has disks in memory that it can damage and fill up.

use protocol::feed::{SecretFrame, SecretRef};
use zeroize::Zeroizing;

use super::{Error, Record, Store, Stored};

/// Keeps one feed's state and secrets.
pub trait Storage: std::fmt::Debug + Send {
    /// Stores a change that leads to `after`; when this returns, it survives a crash.
    ///
    /// # Errors
    /// When the disk refuses: then the stored state is the one before.
    fn save(&mut self, change: Record, after: &Stored) -> Result<(), Error>;

    /// Another process may have written: nothing that is there is built upon any more, the next change replaces it all.
    fn distrust(&mut self);

    /// Stores secrets.
    ///
    /// # Errors
    /// When the disk refuses.
    fn put_secrets(&self, secrets: &[SecretFrame]) -> Result<(), Error>;

    /// A stored secret; nothing when it is missing.
    ///
    /// # Errors
    /// When it is there but can't be opened.
    fn secret(&self, secret: &SecretRef) -> Result<Option<Zeroizing<String>>, Error>;

    /// Erases all secrets but these.
    ///
    /// # Errors
    /// When the disk refuses.
    fn retain_secrets(&self, wanted: &mut dyn Iterator<Item = &SecretRef>) -> Result<(), Error>;
}

impl Storage for Store {
    fn save(&mut self, change: Record, after: &Stored) -> Result<(), Error> {
        self.save(change, after)
    }

    fn distrust(&mut self) {
        self.distrust();
    }

    fn put_secrets(&self, secrets: &[SecretFrame]) -> Result<(), Error> {
        self.put_secrets(secrets)
    }

    fn secret(&self, secret: &SecretRef) -> Result<Option<Zeroizing<String>>, Error> {
        self.secret(secret)
    }

    fn retain_secrets(&self, wanted: &mut dyn Iterator<Item = &SecretRef>) -> Result<(), Error> {
        self.retain_secrets(wanted)
    }
}
