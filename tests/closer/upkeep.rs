//! What keeps a channel's ledger entries alive.
