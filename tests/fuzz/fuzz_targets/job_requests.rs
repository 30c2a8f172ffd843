//! libFuzzer around [`sd_fuzz::job_requests`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sd_fuzz::job_requests(data));
