use super::*;
use crate::store::ElementKind;
use proptest::prelude::*;
use std::io::{Cursor, Write};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// `{name: tensor, ...}`: every tensor is `[2, 2]` with its own strides and offset in storage `0`.
fn content(tensors: &[(&str, [u8; 2], u8)], legacy: bool) -> Vec<u8> {
    let mut bytes = b"\x80\x02}(".to_vec();
    for (name, strides, offset) in tensors {
        bytes.extend([b'U', name.len() as u8]);
        bytes.extend(name.as_bytes());
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x06");
        bytes.extend(if legacy { &b"NtQ"[..] } else { b"tQ" });
        bytes.extend([b'K', *offset, b'K', 2, b'K', 2, 0x86]);
        bytes.extend([b'K', strides[0], b'K', strides[1], 0x86]);
        bytes.extend(b"\x89)tR");
    }
    bytes.extend(b"u.");
    bytes
}

fn storage() -> Vec<u8> {
    (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect()
}

fn zip(method: CompressionMethod, content: &[u8]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in [
        ("x/data.pkl", content),
        ("x/byteorder", b"little"),
        ("x/data/0", &storage()),
    ] {
        writer.start_file(name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn legacy(content: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a".to_vec();
    bytes.extend(LEGACY_MAGIC);
    bytes.extend(b".\x80\x02M\xe9\x03.\x80\x02}U\x0dlittle_endian\x88s.");
    bytes.extend(content);
    bytes.extend(b"\x80\x02]U\x010a.");
    bytes.extend(6_i64.to_le_bytes());
    bytes.extend(storage());
    bytes
}

const TWO: [(&str, [u8; 2], u8); 2] = [("b.w", [2, 1], 1), ("a", [1, 2], 2)];

fn open(bytes: Vec<u8>) -> Result<TorchFile, TorchError> {
    TorchFile::parse(ByteView::from(bytes))
}

#[test]
fn both_containers_give_the_same_tensors_in_file_order() {
    for bytes in [
        zip(CompressionMethod::Stored, &content(&TWO, false)),
        zip(CompressionMethod::Deflated, &content(&TWO, false)),
        legacy(&content(&TWO, true)),
    ] {
        let file = open(bytes).unwrap();
        assert_eq!(file.names(), ["b.w", "a"]);
        assert_eq!(file.get("b.w").unwrap().to_f32(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(file.get("a").unwrap().to_f32(), [2.0, 4.0, 3.0, 5.0]);
        assert_eq!(file.get("a").unwrap().kind(), ElementKind::F32);
        assert_eq!(file.select("b").keys().collect::<Vec<_>>(), [&"w"]);
        assert_eq!(file.select("").len(), 2);
    }
}

/// `torch.save` names the root after the file and puts zip64 records behind the directory although
/// they are not needed. The first entry of the directory is as long as these records together when
/// the root has 21 characters.
#[test]
fn roots_of_any_length_are_found() {
    for length in 15..30 {
        let root = "r".repeat(length);
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (name, bytes) in [("data.pkl", content(&TWO, false)), ("data/0", storage())] {
            writer.start_file(format!("{root}/{name}"), stored).unwrap();
            writer.write_all(&bytes).unwrap();
        }
        let plain = writer.finish().unwrap().into_inner();
        let end = plain.len() - 22;
        let number = |at: usize| u32::from_le_bytes(plain[at..at + 4].try_into().unwrap());
        let (size, start) = (number(end + 12), number(end + 16));
        let mut bytes = plain[..end].to_vec();
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend([0x1e, 3, 0x2d, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(2_u64.to_le_bytes());
        bytes.extend(2_u64.to_le_bytes());
        bytes.extend(u64::from(size).to_le_bytes());
        bytes.extend(u64::from(start).to_le_bytes());
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend((end as u64).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(&plain[end..]);
        assert_eq!(open(bytes).unwrap().names(), ["b.w", "a"], "{length}");
    }
}

#[test]
fn tensors_outside_of_their_storage_are_refused() {
    for wrong in [("a", [2, 1], 3), ("a", [3, 2], 1), ("a", [255, 255], 0)] {
        let error = open(zip(CompressionMethod::Stored, &content(&[wrong], false))).unwrap_err();
        assert!(matches!(error, TorchError::Tensor { .. }), "{error}");
        assert!(open(legacy(&content(&[wrong], true))).is_err());
    }
}

#[test]
fn shared_containers_do_not_unfold_and_names_stay_unique() {
    let mut bomb = b"\x80\x02]q\x00K\x01a0".to_vec();
    for level in 1..=25_u8 {
        bomb.extend([b']', b'q', level, b'(']);
        for _ in 0..8 {
            bomb.extend([b'h', level - 1]);
        }
        bomb.extend(b"e0");
    }
    bomb.extend(b"h\x19.");
    let error = open(zip(CompressionMethod::Stored, &bomb)).unwrap_err();
    assert!(matches!(error, TorchError::Limit { .. }), "{error}");
    let cycle = open(zip(CompressionMethod::Stored, b"]q\x00h\x00a."));
    assert!(matches!(cycle, Err(TorchError::Limit { .. })));
    let twice = [("a", [2, 1], 0), ("a", [2, 1], 0)];
    let error = open(zip(CompressionMethod::Stored, &content(&twice, false))).unwrap_err();
    assert!(matches!(error, TorchError::Duplicate { .. }), "{error}");
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    for bytes in [&b""[..], b"PK\x03\x04", b"\x80\x02N.", b"hello"] {
        assert!(open(bytes.to_vec()).is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn changed_checkpoints_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for mut bytes in [
            zip(CompressionMethod::Stored, &content(&TWO, false)),
            legacy(&content(&TWO, true)),
        ] {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(file) = open(bytes) {
                for tensor in file.tensors().values() {
                    prop_assert_eq!(tensor.to_f32().len(), tensor.len());
                }
            }
        }
    }

    #[test]
    fn every_cut_is_refused(cut in any::<prop::sample::Index>()) {
        for bytes in [
            zip(CompressionMethod::Stored, &content(&TWO, false)),
            legacy(&content(&TWO, true)),
        ] {
            let cut = cut.index(bytes.len());
            prop_assert!(open(bytes[..cut].to_vec()).is_err());
        }
    }
}
