//! What became of a transaction, and its words in XDR.

use stellar_xdr::{
    AccountMergeResult, BumpSequenceResult, ChangeTrustResult, CreateAccountResult,
    ExtendFootprintTtlResult, Hash, InnerTransactionResult, InnerTransactionResultExt,
    InnerTransactionResultPair, InnerTransactionResultResult as Inner, InvokeHostFunctionResult,
    ManageDataResult, Operation, OperationBody, OperationResult, OperationResultTr, PaymentResult,
    RestoreFootprintResult, SetOptionsResult, TransactionResult, TransactionResultExt,
    TransactionResultResult as Outer,
};

use super::frame::Frame;
use super::xdr::list;

/// What became of a transaction, its fee bump aside.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Every operation took effect.
    Success(Vec<OperationResult>),
    /// An operation failed, so none took effect.
    Failed(Vec<OperationResult>),
    /// It did not come to the operations.
    Refused(Refusal),
}

/// The result of an operation that failed. Boxed, because it is large and most operations succeed.
pub(super) type Failure = Box<OperationResult>;

/// Why a transaction does not come to its operations. Source: `TransactionResultCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    TooEarly,
    TooLate,
    MissingOperation,
    BadSeq,
    BadAuth,
    InsufficientBalance,
    NoAccount,
    InsufficientFee,
    BadAuthExtra,
    InternalError,
    BadMinSeqAgeOrGap,
    Malformed,
    SorobanInvalid,
}

impl Verdict {
    /// The result of `frame` when this became of it; of a fee bump, of its inner transaction.
    pub(super) fn into_result(self, frame: &Frame, fee_charged: i64) -> TransactionResult {
        let Some(_) = &frame.bump else {
            return result(fee_charged, self.into_outer());
        };
        let succeeded = matches!(self, Self::Success(_));
        let pair = InnerTransactionResultPair {
            transaction_hash: Hash(frame.hash.0),
            result: InnerTransactionResult {
                fee_charged: 0,
                result: self.into_inner(),
                ext: InnerTransactionResultExt::V0,
            },
        };
        let outer = if succeeded {
            Outer::TxFeeBumpInnerSuccess(pair)
        } else {
            Outer::TxFeeBumpInnerFailed(pair)
        };
        result(fee_charged, outer)
    }

    fn into_outer(self) -> Outer {
        match self {
            Self::Success(operations) => Outer::TxSuccess(list(operations)),
            Self::Failed(operations) => Outer::TxFailed(list(operations)),
            Self::Refused(refusal) => refusal.outer(),
        }
    }

    fn into_inner(self) -> Inner {
        match self {
            Self::Success(operations) => Inner::TxSuccess(list(operations)),
            Self::Failed(operations) => Inner::TxFailed(list(operations)),
            Self::Refused(refusal) => match refusal {
                Refusal::TooEarly => Inner::TxTooEarly,
                Refusal::TooLate => Inner::TxTooLate,
                Refusal::MissingOperation => Inner::TxMissingOperation,
                Refusal::BadSeq => Inner::TxBadSeq,
                Refusal::BadAuth => Inner::TxBadAuth,
                Refusal::InsufficientBalance => Inner::TxInsufficientBalance,
                Refusal::NoAccount => Inner::TxNoAccount,
                Refusal::InsufficientFee => Inner::TxInsufficientFee,
                Refusal::BadAuthExtra => Inner::TxBadAuthExtra,
                Refusal::InternalError => Inner::TxInternalError,
                Refusal::BadMinSeqAgeOrGap => Inner::TxBadMinSeqAgeOrGap,
                Refusal::Malformed => Inner::TxMalformed,
                Refusal::SorobanInvalid => Inner::TxSorobanInvalid,
            },
        }
    }
}

impl Refusal {
    /// The result of a transaction that is refused as a whole; of a fee bump, for its own part.
    pub(super) fn into_result(self, fee_charged: i64) -> TransactionResult {
        result(fee_charged, self.outer())
    }

    fn outer(self) -> Outer {
        match self {
            Self::TooEarly => Outer::TxTooEarly,
            Self::TooLate => Outer::TxTooLate,
            Self::MissingOperation => Outer::TxMissingOperation,
            Self::BadSeq => Outer::TxBadSeq,
            Self::BadAuth => Outer::TxBadAuth,
            Self::InsufficientBalance => Outer::TxInsufficientBalance,
            Self::NoAccount => Outer::TxNoAccount,
            Self::InsufficientFee => Outer::TxInsufficientFee,
            Self::BadAuthExtra => Outer::TxBadAuthExtra,
            Self::InternalError => Outer::TxInternalError,
            Self::BadMinSeqAgeOrGap => Outer::TxBadMinSeqAgeOrGap,
            Self::Malformed => Outer::TxMalformed,
            Self::SorobanInvalid => Outer::TxSorobanInvalid,
        }
    }
}

/// What stands for an operation that has not run: its success, as stellar-core fills results in beforehand.
pub(super) fn untried(operation: &Operation) -> OperationResult {
    OperationResult::OpInner(match &operation.body {
        OperationBody::CreateAccount(_) => {
            OperationResultTr::CreateAccount(CreateAccountResult::Success)
        }
        OperationBody::Payment(_) => OperationResultTr::Payment(PaymentResult::Success),
        OperationBody::SetOptions(_) => OperationResultTr::SetOptions(SetOptionsResult::Success),
        OperationBody::ChangeTrust(_) => OperationResultTr::ChangeTrust(ChangeTrustResult::Success),
        OperationBody::AccountMerge(_) => {
            OperationResultTr::AccountMerge(AccountMergeResult::Success(0))
        }
        OperationBody::ManageData(_) => OperationResultTr::ManageData(ManageDataResult::Success),
        OperationBody::BumpSequence(_) => {
            OperationResultTr::BumpSequence(BumpSequenceResult::Success)
        }
        OperationBody::InvokeHostFunction(_) => OperationResultTr::InvokeHostFunction(
            InvokeHostFunctionResult::Success(Hash::default()),
        ),
        OperationBody::ExtendFootprintTtl(_) => {
            OperationResultTr::ExtendFootprintTtl(ExtendFootprintTtlResult::Success)
        }
        OperationBody::RestoreFootprint(_) => {
            OperationResultTr::RestoreFootprint(RestoreFootprintResult::Success)
        }
        _ => return OperationResult::OpNotSupported,
    })
}

fn result(fee_charged: i64, result: Outer) -> TransactionResult {
    TransactionResult { fee_charged, result, ext: TransactionResultExt::V0 }
}
