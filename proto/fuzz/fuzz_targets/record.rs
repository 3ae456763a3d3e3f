//! A record as it stands in a segment: header, then payload. Both are refused or mean one thing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{
    Checksum,
    limits::RECORD_HEADER_BYTES,
    record::{Header, Kind, Record, Salt},
};

fuzz_target!(|bytes: &[u8]| {
    let Some((head, payload)) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>() else { return };
    if let Ok(header) = Header::decode(head) {
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        assert_eq!(Salt::of_header(head), header.salt);
    }
    let salt = Salt::of_header(head);
    // The hash of a payload is checked before it is decoded; that it is rarely right must not stop the fuzzer here.
    let payload = payload.to_vec().into();
    for kind in Kind::ALL {
        let Ok(record) = Record::decode(kind, &payload) else { continue };
        let again = record.payload();
        assert_eq!((record.kind(), again.len()), (kind, payload.len()));
        assert_eq!(Record::decode(kind, &again), Ok(record));
        let header = Header::new(kind, salt, 1, again.len(), Checksum::of(&again)).expect("inputs are short");
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }
});
