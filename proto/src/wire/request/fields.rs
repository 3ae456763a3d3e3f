//! The fields of each request: how they are read, and those that several share written.

use minicbor::Decoder;

use super::Request;
use crate::{
    cbor::{self, Fields, Writer},
    compare::Question,
    error::ProtoError,
    fragment::FragmentId,
    limits::{ADDRESSES_MAX, CREDENTIAL_BYTES_MAX, DROP_ORDER_BYTES_MAX},
    record::DocumentKind,
};

pub(super) fn read_hello(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::Hello {
        software: fields.required(1, cbor::text)?,
        addresses: fields.required(2, cbor::texts_within::<ADDRESSES_MAX>)?,
        credential: fields.optional(3, cbor::bytes_within::<CREDENTIAL_BYTES_MAX>)?,
        invite: fields.optional(4, cbor::bytes32)?,
        dial_back: fields.required(5, Decoder::bool)?,
    }))
}

pub(super) fn read_put_document(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let tessera = fields.required(1, cbor::bytes32)?;
    let Some(document) = read_document(fields)? else { return Ok(None) };
    let layout = fields.optional(3, cbor::bytes32)?;
    let length = fields.required(4, Decoder::u32)?;
    Ok(Some(Request::PutDocument { tessera, document, layout, length }))
}

pub(super) fn read_get_document(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let tessera = fields.required(1, cbor::bytes32)?;
    let Some(document) = read_document(fields)? else { return Ok(None) };
    Ok(Some(Request::GetDocument { tessera, document, hash: fields.optional(3, cbor::bytes32)? }))
}

pub(super) fn read_put_fragment(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::PutFragment {
        fragment: read_fragment(fields)?,
        checksum: fields.required(4, cbor::bytes32)?,
        length: fields.required(5, Decoder::u32)?,
        layout: fields.required(6, cbor::bytes32)?,
    }))
}

pub(super) fn read_get_fragment(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let (fragment, checksum) = (read_fragment(fields)?, fields.optional(4, cbor::bytes32)?);
    Ok(Some(Request::GetFragment { fragment, checksum }))
}

pub(super) fn read_drop_fragments(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let order = fields.required(1, cbor::bytes_within::<DROP_ORDER_BYTES_MAX>)?;
    Ok(Some(Request::DropFragments { order }))
}

pub(super) fn read_attest(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::Attest {
        tessera: fields.required(1, cbor::bytes32)?,
        stripes: fields.required(2, Decoder::u32)?..fields.required(3, Decoder::u32)?,
        nonce: fields.required(4, cbor::bytes32)?,
    }))
}

pub(super) fn read_compare(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let account = fields.required(1, cbor::bytes32)?;
    let question = match fields.required(2, Decoder::u64)? {
        0 => Question::All,
        1 => {
            let [first] = fields.required(3, cbor::array)?;
            Question::Under(first)
        }
        2 => Question::Pair {
            prefix: fields.required(3, cbor::array)?,
            after: fields.optional(4, cbor::bytes32)?,
        },
        3 => Question::Tessera {
            tessera: fields.required(4, cbor::bytes32)?,
            from: (fields.required(5, Decoder::u32)?, fields.required(6, Decoder::u16)?),
        },
        5 => Question::Tesserae { after: fields.optional(4, cbor::bytes32)? },
        _ => return Ok(None),
    };
    Ok(Some(Request::Compare { account, question }))
}

pub(super) fn read_prove(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::Prove {
        checksum: fields.required(1, cbor::bytes32)?,
        group: fields.required(2, Decoder::u32)?,
        nonce: fields.required(3, cbor::bytes32)?,
    }))
}

pub(super) fn read_look_after(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::LookAfter { tessera: fields.required(1, cbor::bytes32)? }))
}

pub(super) fn read_introduce(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::Introduce {
        tessera: fields.required(1, cbor::bytes32)?,
        manifest: fields.required(2, Decoder::u32)?,
        layout: fields.required(3, Decoder::u32)?,
        page: fields.required(4, Decoder::u32)?,
    }))
}

/// Field 2, if this software knows the document.
fn read_document(fields: &mut Fields<'_, '_>) -> Result<Option<DocumentKind>, ProtoError> {
    let code = fields.required(2, Decoder::u64)?;
    Ok(u8::try_from(code).ok().and_then(DocumentKind::from_code))
}

/// Fields 1 to 3.
fn read_fragment(fields: &mut Fields<'_, '_>) -> Result<FragmentId, ProtoError> {
    Ok(FragmentId {
        tessera: fields.required(1, cbor::bytes32)?,
        stripe: fields.required(2, Decoder::u32)?,
        index: fields.required(3, Decoder::u16)?,
    })
}

pub(super) fn write_fragment(out: &mut Writer, fragment: &FragmentId) {
    out.bytes(1, fragment.tessera.as_bytes());
    out.unsigned(2, fragment.stripe);
    out.unsigned(3, fragment.index);
}

/// Fields 2 to 6.
pub(super) fn write_question(out: &mut Writer, question: &Question) {
    match question {
        Question::All => out.unsigned(2, 0_u8),
        Question::Under(first) => {
            out.unsigned(2, 1_u8);
            out.bytes(3, &[*first]);
        }
        Question::Pair { prefix, after } => {
            out.unsigned(2, 2_u8);
            out.bytes(3, prefix);
            after.iter().for_each(|after| out.bytes(4, after.as_bytes()));
        }
        Question::Tessera { tessera, from: (stripe, index) } => {
            out.unsigned(2, 3_u8);
            out.bytes(4, tessera.as_bytes());
            out.unsigned(5, *stripe);
            out.unsigned(6, *index);
        }
        Question::Tesserae { after } => {
            out.unsigned(2, 5_u8);
            after.iter().for_each(|after| out.bytes(4, after.as_bytes()));
        }
    }
}
