use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn load(bytes: impl Into<Vec<u8>>) -> Result<Pickle, PickleError> {
    parse(ByteView::from(bytes.into()), Allowed::Torch)
}

fn fault(bytes: impl Into<Vec<u8>>) -> (usize, &'static str, Fault) {
    match load(bytes).unwrap_err() {
        PickleError::At {
            offset,
            opcode,
            fault,
        } => (offset, opcode, fault),
        other => panic!("{other}"),
    }
}

/// A protocol 2 pickle of a `[2, 2]` array, `f4`, little endian, as Python 3 writes it.
fn array(state: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes =
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR\
        (K\x01K\x02K\x02\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
            .to_vec();
    bytes.extend(state);
    bytes.extend(b"b\x89");
    bytes.extend(data);
    bytes.extend(b"tb.");
    bytes
}

const STATE: &[u8] = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t";

#[test]
fn scalars_and_containers_of_every_protocol() {
    let cases: &[(&[u8], &[f64])] = &[
        (b"(lp0\nI1\naI-2\naL3L\naF0.5\na.", &[1.0, -2.0, 3.0, 0.5]),
        (
            b"\x80\x02](K\x01M\x00\x01J\xff\xff\xff\xff\x8a\x02\x00\xffG?\xe0\0\0\0\0\0\0e.",
            &[1.0, 256.0, -1.0, -256.0, 0.5],
        ),
        (
            b"\x80\x04\x95\x07\0\0\0\0\0\0\0\x8f\x94(\x88\x89\x8a\x00\x90.",
            &[1.0, 0.0, 0.0],
        ),
        (b"I01\nI00\n\x86.", &[1.0, 0.0]),
    ];
    for (bytes, expected) in cases {
        assert_eq!(load(*bytes).unwrap().root().numbers().unwrap(), *expected);
    }
    let dict = load(b"\x80\x02}(U\x01aK\x01X\x01\0\0\0bK\x02U\x01aK\x03u.").unwrap();
    assert_eq!(
        dict.root().get("a").unwrap().as_i64(),
        Some(3),
        "the last one counts"
    );
    assert_eq!(dict.root().get("b").unwrap().as_i64(), Some(2));
    assert!(dict.root().get("c").is_none());
    let set = load(b"\x80\x02c__builtin__\nset\n](K\x07K\x08e\x85R.").unwrap();
    assert_eq!(set.root().type_name(), "set");
    assert_eq!(set.root().numbers().unwrap(), [7.0, 8.0]);
}

#[test]
fn python_2_bytes_are_utf_8_where_valid_and_else_latin_1() {
    let word = |bytes: &'static [u8]| load(bytes).unwrap().root().as_text().unwrap().into_owned();
    assert_eq!(word(b"U\x05caf\xc3\xa9."), "café");
    assert_eq!(word(b"U\x04caf\xe9."), "café");
    assert_eq!(word(b"S'caf\\xe9'\n."), "café");
    assert!(load(*b"U\x04caf\xe9.").unwrap().root().as_utf8().is_none());
    assert_eq!(fault(*b"X\x01\0\0\0\xe9.").1, "BINUNICODE");
}

#[test]
fn arrays_are_slices_of_the_file_in_either_byte_order() {
    let data: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let raw = [b"U\x10".as_slice(), &data].concat();
    let pickle = load(array(STATE, &raw)).unwrap();
    let read = pickle.root().as_array().unwrap();
    assert_eq!(
        (read.shape(), read.to_f32()),
        (&[2, 2][..], vec![1.0, 2.0, 3.0, 4.0])
    );

    let data: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    let raw = [b"U\x10".as_slice(), &data].concat();
    let state = STATE
        .iter()
        .map(|&b| if b == b'<' { b'>' } else { b })
        .collect::<Vec<_>>();
    let pickle = load(array(&state, &raw)).unwrap();
    assert_eq!(
        pickle.root().as_array().unwrap().to_f32(),
        [1.0, 2.0, 3.0, 4.0]
    );
}

#[test]
fn bytes_of_python_3_in_protocol_2_are_encoded_back() {
    // Bytes 0x80..0x90 as text: two UTF-8 bytes each.
    let text: String = (0x80..0x90_u8).map(char::from).collect();
    let mut data = b"c_codecs\nencode\nX\x20\0\0\0".to_vec();
    data.extend(text.as_bytes());
    data.extend(b"U\x06latin1\x86R");
    let pickle = load(array(STATE, &data)).unwrap();
    let expected: Vec<f32> = (0x80..0x90_u8)
        .collect::<Vec<_>>()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    assert_eq!(pickle.root().as_array().unwrap().to_f32(), expected);
}

#[test]
fn data_that_do_not_fill_the_shape_are_refused() {
    let (_, opcode, what) = fault(array(STATE, b"U\x0f0123456789abcde"));
    assert_eq!(opcode, "BUILD");
    assert!(matches!(what, Fault::Argument(_)), "{what}");
    let structured = b"(K\x03U\x01<NU\x01aNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t";
    assert!(load(array(structured, b"U\x100123456789abcdef")).is_err());
}

#[test]
fn names_that_are_not_listed_are_refused_with_their_place() {
    for (bytes, place) in [
        (&b"\x80\x02cposix\nsystem\nU\x04true\x85R."[..], 2),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", 17),
        (b"(S'true'\niposix\nsystem\n.", 9),
        (b"cbuiltins\neval\n.", 0),
        (b"cnumpy\nload\n.", 0),
        (b"ctorch.storage\n_load_from_bytes\n.", 0),
        (b"c__builtin__\ngetattr\n.", 0),
    ] {
        let (offset, _, what) = fault(bytes);
        assert_eq!(offset, place);
        assert!(matches!(what, Fault::Forbidden { .. }), "{what}");
        assert!(load(bytes).unwrap_err().hint().is_some());
    }
    let torch = ByteView::from(b"ctorch\nFloatStorage\n.".to_vec());
    assert!(parse(torch.clone(), Allowed::Torch).is_ok());
    assert!(parse(torch, Allowed::Numpy).is_err());
}

#[test]
fn what_only_the_writer_could_resolve_is_refused() {
    for bytes in [&b"\x97."[..], b"\x98.", b"\x82\x01.", b"Pname\n."] {
        assert!(matches!(fault(bytes).2, Fault::Unsupported(_)));
    }
    let persistent = ByteView::from(b"U\x01aQ.".to_vec());
    assert!(parse(persistent.clone(), Allowed::Torch).is_ok());
    assert!(parse(persistent, Allowed::Numpy).is_err());
}

#[test]
fn broken_programs_are_refused() {
    for bytes in [
        &b"."[..],
        b"0.",
        b"(.",
        b"K\x01K\x02.",
        b"a.",
        b"]a.",
        b"](e(.",
        b"h\x00.",
        b"K\x01K\x01s.",
        b"}(K\x01u.",
        b"(K\x01",
        b"\x80\x06.",
        b"NNb.",
        b"]]R.",
        b"(o.",
        b"\x8a\xffab.",
        b"I\n.",
        b"Fx\n.",
        b"K\x01\x85q",
        b"(K\x01K\x022\x86.",
        b"\x80",
    ] {
        assert!(load(bytes).is_err(), "{bytes:?}");
    }
    assert!(matches!(load(*b""), Err(PickleError::Empty)));
    assert!(matches!(
        load(*b"N.N."),
        Err(PickleError::Trailing {
            extra: 2,
            offset: 2
        })
    ));
}

#[test]
fn declared_lengths_beyond_the_file_are_refused() {
    for bytes in [
        &b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff."[..],
        b"\x8e\x00\x00\x00\x00\x00\x00\x00\x40.",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\xffN.",
        b"T\xff\xff\xff\xff.",
        b"\x8b\xff\xff\xff\xff.",
    ] {
        assert!(matches!(fault(bytes).2, Fault::End { .. }), "{bytes:?}");
    }
}

/// Neither reading nor dropping may use the call stack.
#[test]
fn depth_and_cycles_do_not_overflow() {
    let mut deep = vec![b']'; 500_000];
    deep.extend(vec![b'a'; 499_999]);
    deep.push(b'.');
    assert_eq!(load(deep).unwrap().root().type_name(), "list");
    let cycle = load(*b"]q\x00h\x00a.").unwrap();
    assert_eq!(cycle.root().items().unwrap().len(), 1);
    let cyclic_array =
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btRq\x01\
        (K\x01K\x01\x85cnumpy\ndtype\nU\x01OK\x00K\x01\x87R\x89](h\x01etb.";
    let cycle = load(*cyclic_array).unwrap();
    assert!(cycle.root().numbers().is_none());
}

/// Small programs that would copy without end.
#[test]
fn copying_is_bounded_by_the_size_of_the_file() {
    let text = "x".repeat(100_000);
    let mut encode = b"c_codecs\nencode\nq\x00X\xa0\x86\x01\0".to_vec();
    encode.extend(text.as_bytes());
    encode.extend(b"\x85q\x01(");
    for _ in 0..100_000 {
        encode.extend(b"h\x00h\x01R");
    }
    encode.extend(b"t.");

    let mut sets = b"c__builtin__\nset\nq\x00](".to_vec();
    sets.extend(vec![b'N'; 100_000]);
    sets.extend(b"e\x85q\x01(");
    for _ in 0..100_000 {
        sets.extend(b"h\x00h\x01R");
    }
    sets.extend(b"t.");

    let mut long_tuple = b"c__builtin__\nset\nq\x00(".to_vec();
    long_tuple.extend(vec![b'N'; 100_000]);
    long_tuple.extend(b"tq\x01(");
    for _ in 0..100_000 {
        long_tuple.extend(b"h\x00h\x01R");
    }
    for bytes in [encode, sets, long_tuple] {
        let start = Instant::now();
        assert!(matches!(fault(bytes).2, Fault::Limit { .. }));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

fn any_opcode() -> impl Strategy<Value = u8> {
    prop::sample::select(
        b"\x80\x95.(012NKMJ\x8a\x8bGILFX\x8cVUTSCB\x8e\x96]})\x8fltd\x91\x85\x86\x87ae\x90supqr\x94ghjc\x93ioR\x81\x92bQ"
            .to_vec(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = load(bytes);
    }

    #[test]
    fn arbitrary_programs_never_panic(
        code in prop::collection::vec(prop_oneof![4 => any_opcode(), 1 => 0_u8..4], 0..200),
    ) {
        if let Ok(pickle) = load(code) {
            let _ = (pickle.root().numbers(), pickle.root().texts(), pickle.root().as_text());
        }
    }

    #[test]
    fn changed_arrays_never_panic(at in 0_usize..200, byte in any::<u8>()) {
        let mut bytes = array(STATE, b"U\x100123456789abcdef");
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(pickle) = load(bytes) {
            let _ = pickle.root().numbers();
        }
    }

    #[test]
    fn every_cut_is_refused(cut in 0_usize..200) {
        let bytes = array(STATE, b"U\x100123456789abcdef");
        prop_assert!(load(&bytes[..cut % bytes.len()]).is_err());
    }
}
