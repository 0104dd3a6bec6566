//! Clients that break the rules.

use crate::frames;
use crate::world::*;
use coffer_rpc::ServerConfig;
use coffer_rpc::schema::types_capnp::error::Code;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

#[test]
fn random_bytes() {
    let world = World::new(impatient());
    let mut random = Random(0x5eed_0001);
    for _ in 0..300 {
        let mut stream = world.attack();
        let count = random.below(4000);
        let mut bytes = random.bytes(count);
        if random.below(2) == 0 && bytes.len() > 8 {
            // A plausible header, so that something behind it is looked at.
            let words = (random.below(64) as u32).to_le_bytes();
            bytes[..8].copy_from_slice(&[0, 0, 0, 0, words[0], 0, 0, 0]);
        }
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
    }
    world.only_the_ordinary_client_is_left();
}

#[test]
fn bit_flips_in_valid_messages() {
    let world = World::new(impatient());
    let mut random = Random(0x5eed_0002);
    let mut valid = frames::log_in();
    let after_login = valid.len();
    valid.extend(frames::put(3, b"flipped", b"value"));
    valid.extend(frames::range(4, b"flipped"));
    for round in 0..600 {
        let mut bytes = valid.clone();
        let from = if round % 2 == 0 { 0 } else { after_login };
        for _ in 0..1 + random.below(4) {
            let at = from + random.below(bytes.len() - from);
            bytes[at] ^= 1 << random.below(8);
        }
        let mut stream = world.attack();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
    }
    world.only_the_ordinary_client_is_left();
}

#[test]
fn frames_beyond_the_limit_end_the_connection_and_cost_nothing() {
    let world = World::new(impatient());
    let before = resident_bytes();
    for log_in in [false, true] {
        for words in [1u32 << 20, 1 << 27, u32::MAX] {
            let mut stream = world.attack();
            if log_in {
                stream.write_all(&frames::log_in()).unwrap();
            }
            let mut header = vec![0; 4];
            header.extend(words.to_le_bytes());
            stream.write_all(&header).unwrap();
            read_to_end(&mut stream);
        }
    }
    // Before login, what is allowed after it is too much as well.
    let mut stream = world.attack();
    let _ = stream.write_all(&frames::put(1, b"k", &[0; 70_000]));
    read_to_end(&mut stream);
    assert!(resident_bytes() < before + (32 << 20));
    world.only_the_ordinary_client_is_left();
}

#[test]
fn announced_bytes_take_no_memory_until_they_come() {
    let world = World::new(ServerConfig { login_timeout: Duration::from_secs(60), ..impatient() });
    let before = resident_bytes();
    let streams: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = world.attack();
            stream.write_all(&frames::log_in()).unwrap();
            // 2 MiB are announced.
            stream.write_all(&[0, 0, 0, 0, 0, 0, 4, 0]).unwrap();
            stream.write_all(&[0; 1000]).unwrap();
            stream
        })
        .collect();
    world.others_are_served();
    let grown = resident_bytes().saturating_sub(before);
    println!("100 begun frames of 2 MiB: {grown} bytes");
    assert!(grown < 32 << 20, "{grown}");
    for mut stream in streams {
        read_to_end(&mut stream);
    }
    world.only_the_ordinary_client_is_left();
}

#[test]
fn half_a_frame_no_login_and_silence_end_in_time() {
    let world = World::new(impatient());
    let mut no_login = world.attack();
    let mut half_header = world.attack();
    half_header.write_all(&[0, 0, 0]).unwrap();
    let mut half_frame = world.attack();
    let mut bytes = frames::log_in();
    bytes.truncate(bytes.len() - 5);
    half_frame.write_all(&bytes).unwrap();
    let mut silent = world.attack();
    silent.write_all(&frames::log_in()).unwrap();
    let begun = Instant::now();
    for stream in [&mut no_login, &mut half_header, &mut half_frame, &mut silent] {
        read_to_end(stream);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
    // Half a frame though it drips: the whole has its time, not each byte.
    let mut dripping = world.attack();
    let begun = Instant::now();
    for byte in frames::log_in() {
        if dripping.write_all(&[byte]).is_err() {
            break;
        }
        let pause = Instant::now() + Duration::from_millis(20);
        until("a moment", || Instant::now() > pause);
    }
    read_to_end(&mut dripping);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    world.only_the_ordinary_client_is_left();
}

#[test]
fn a_client_that_never_reads_costs_bounded_memory() {
    let world = World::new(impatient());
    world.store("large", vec![1u8; 1 << 20]);
    let before = resident_bytes();
    let mut stream = world.attack();
    stream.write_all(&frames::log_in()).unwrap();
    // 20 GB of answers are asked for.
    let asking = {
        let mut stream = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            let asked = (3..20_000).take_while(|&i| stream.write_all(&frames::range(i, b"large")).is_ok());
            asked.count()
        })
    };
    let mut peak = 0;
    let end = Instant::now() + Duration::from_secs(30);
    while world.server.stats().connections > 1 {
        assert!(Instant::now() < end, "the connection was not cut");
        peak = peak.max(resident_bytes());
        world.others_are_served();
    }
    println!("unread answers: {} bytes at the peak", peak.saturating_sub(before));
    assert!(peak < before + (96 << 20), "{}", peak - before);
    drop(stream);
    println!("calls that were sent: {}", asking.join().unwrap());
    world.only_the_ordinary_client_is_left();
}

#[test]
fn a_client_that_resumes_reading_gets_everything() {
    let world = World::new(ServerConfig {
        limits: coffer_rpc::net::Limits::server(),
        idle_timeout: Duration::from_secs(60),
        ..impatient()
    });
    world.store("large", vec![1u8; 1 << 20]);
    let mut stream = world.attack();
    stream.write_all(&frames::log_in()).unwrap();
    for i in 3..103 {
        stream.write_all(&frames::range(i, b"large")).unwrap();
    }
    let pause = Instant::now() + Duration::from_secs(1);
    until("a second", || Instant::now() > pause);
    world.others_are_served();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = vec![0; 100 << 20];
    stream.read_exact(&mut bytes).unwrap();
    drop(stream);
    world.only_the_ordinary_client_is_left();
}

#[test]
fn connections_of_a_thread_share_its_memory() {
    const CLIENTS: usize = 6;
    const ANSWERS: usize = 24;
    let limits = coffer_rpc::net::Limits {
        // So much for each is no limit here.
        output_soft_bytes: 32 << 20,
        stall_timeout: Duration::from_secs(60),
        ..impatient().limits
    };
    let world = World::new(ServerConfig {
        thread_bytes_max: 2 << 20,
        limits,
        idle_timeout: Duration::from_secs(60),
        ..impatient()
    });
    world.store("large", vec![1u8; 1 << 20]);
    let before = resident_bytes();
    let streams: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = world.attack();
            stream.write_all(&frames::log_in()).unwrap();
            for question in 3..ANSWERS + 3 {
                stream.write_all(&frames::range(question as u32, b"large")).unwrap();
            }
            stream
        })
        .collect();
    let mut peak = 0;
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        world.others_are_served();
        peak = peak.max(resident_bytes());
    }
    let grown = peak.saturating_sub(before);
    println!("{CLIENTS} clients that do not read {ANSWERS} MiB each: {grown} bytes");
    assert!(grown < 48 << 20, "{grown}");
    // Whoever reads then gets everything, though the others still do not read.
    for mut stream in streams {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let read = std::io::copy(&mut (&mut stream).take((ANSWERS as u64) << 20), &mut std::io::sink());
        assert_eq!(read.unwrap(), (ANSWERS as u64) << 20);
    }
    world.only_the_ordinary_client_is_left();
}

#[test]
fn more_unsent_answers_than_the_hard_limit_cut_the_connection() {
    let limits = coffer_rpc::net::Limits {
        // Nothing waits for room.
        output_soft_bytes: 0,
        output_hard_bytes: 16 << 20,
        stall_timeout: Duration::from_secs(60),
        ..impatient().limits
    };
    let config = ServerConfig { limits, idle_timeout: Duration::from_secs(60), ..impatient() };
    let world = World::new(config);
    world.store("large", vec![1u8; 1 << 20]);
    let mut stream = world.attack();
    stream.write_all(&frames::log_in()).unwrap();
    for question in 3..67 {
        stream.write_all(&frames::range(question, b"large")).unwrap();
    }
    until("the cut", || world.server.stats().faults == 1);
    assert!(read_to_end(&mut stream) < 64 << 20);
    world.only_the_ordinary_client_is_left();
}

#[test]
fn calls_without_end_are_not_read() {
    let world = World::new(impatient());
    let before = resident_bytes();
    let mut stream = world.attack();
    stream.write_all(&frames::log_in()).unwrap();
    stream.set_nonblocking(true).unwrap();
    // Questions that are never finished, and whose answers are not read.
    let end = Instant::now() + Duration::from_millis(1200);
    let (mut question, mut sent) = (3, 0);
    while Instant::now() < end {
        let bytes = frames::put(question, b"k", &[1; 1000]);
        match stream.write(&bytes) {
            Ok(written) if written == bytes.len() => (question, sent) = (question + 1, sent + 1),
            _ => break,
        }
    }
    world.others_are_served();
    println!("{sent} puts were sent, {} bytes more", resident_bytes().saturating_sub(before));
    assert!(resident_bytes() < before + (128 << 20));
    drop(stream);
    world.only_the_ordinary_client_is_left();
}

#[test]
fn unknown_enum_values_are_answered() {
    let world = World::new(impatient());
    let mut stream = world.attack();
    stream.write_all(&frames::log_in()).unwrap();
    stream.write_all(&frames::range_of_unknown_order(3)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    loop {
        let message = capnp::serialize::read_message(&mut stream, Default::default()).unwrap();
        let root = message.get_root::<capnp_rpc::rpc_capnp::message::Reader<'_>>().unwrap();
        let capnp_rpc::rpc_capnp::message::Return(answer) = root.which().unwrap() else { continue };
        let answer = answer.unwrap();
        if answer.get_answer_id() != 3 {
            continue;
        }
        let capnp_rpc::rpc_capnp::return_::Results(results) = answer.which().unwrap() else { panic!() };
        let result = results.unwrap().get_content();
        let result: coffer_rpc::schema::kv_capnp::range_result::Reader<'_> = result.get_as().unwrap();
        let Ok(coffer_rpc::schema::kv_capnp::range_result::Err(error)) = result.which() else { panic!() };
        assert_eq!(error.unwrap().get_code(), Ok(Code::InvalidSortOption));
        break;
    }
    drop(stream);
    world.only_the_ordinary_client_is_left();
}

#[test]
fn a_client_that_never_finishes_its_questions_is_served_on() {
    let world = World::new(impatient());
    let mut stream = world.attack();
    stream.write_all(&frames::log_in()).unwrap();
    let calls = 20_000;
    let reading = {
        let mut stream = stream.try_clone().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        std::thread::spawn(move || {
            let mut answered = 0;
            while answered < calls {
                let message = capnp::serialize::read_message(&mut stream, Default::default()).unwrap();
                let root = message.get_root::<capnp_rpc::rpc_capnp::message::Reader<'_>>().unwrap();
                if let Ok(capnp_rpc::rpc_capnp::message::Return(_)) = root.which() {
                    answered += 1;
                }
            }
        })
    };
    for question in 3..calls + 3 {
        stream.write_all(&frames::put(question, b"k", b"v")).unwrap();
    }
    reading.join().unwrap();
    drop(stream);
    world.only_the_ordinary_client_is_left();
}
