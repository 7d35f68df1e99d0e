// CRC32C and XXH3: the two checksums of Pulse, behind plain functions.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// CRC32C (Castagnoli, RFC 3720) of `length` bytes, continuing from `seed` (0 for a fresh one).
uint32_t pulse_crc32c(uint32_t seed, const void *bytes, size_t length);

/// The same by table, one byte at a time: what the fast paths are tested against.
uint32_t pulse_crc32c_reference(uint32_t seed, const void *bytes, size_t length);

/// XXH3, 64 bits, seeded.
uint64_t pulse_xxh3(uint64_t seed, const void *bytes, size_t length);
