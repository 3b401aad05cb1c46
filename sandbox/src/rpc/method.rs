//! The methods that are served.

/// A method of the Stellar RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `getHealth`.
    GetHealth,
    /// `getNetwork`.
    GetNetwork,
    /// `getVersionInfo`.
    GetVersionInfo,
    /// `getLatestLedger`.
    GetLatestLedger,
    /// `getLedgerEntries`.
    GetLedgerEntries,
    /// `getFeeStats`.
    GetFeeStats,
    /// `simulateTransaction`.
    SimulateTransaction,
    /// `sendTransaction`.
    SendTransaction,
    /// `getTransaction`.
    GetTransaction,
    /// `getTransactions`.
    GetTransactions,
    /// `getEvents`.
    GetEvents,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 11] = [
        Self::GetHealth,
        Self::GetNetwork,
        Self::GetVersionInfo,
        Self::GetLatestLedger,
        Self::GetLedgerEntries,
        Self::GetFeeStats,
        Self::SimulateTransaction,
        Self::SendTransaction,
        Self::GetTransaction,
        Self::GetTransactions,
        Self::GetEvents,
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::GetHealth => "getHealth",
            Self::GetNetwork => "getNetwork",
            Self::GetVersionInfo => "getVersionInfo",
            Self::GetLatestLedger => "getLatestLedger",
            Self::GetLedgerEntries => "getLedgerEntries",
            Self::GetFeeStats => "getFeeStats",
            Self::SimulateTransaction => "simulateTransaction",
            Self::SendTransaction => "sendTransaction",
            Self::GetTransaction => "getTransaction",
            Self::GetTransactions => "getTransactions",
            Self::GetEvents => "getEvents",
        }
    }

    /// The method of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}
