#include "CChecksum.h"

#include <isa-l/crc.h>
#include <stdatomic.h>
#include <xxhash.h>

// ISA-L's crc32_iscsi is Castagnoli without the inversions before and after; it takes a non-const
// pointer and an int length. It is checked once against the RFC 3720 vector; on a machine where it
// answers wrongly the table does the work, slowly but rightly.

static const uint32_t polynomial = 0x82F63B78u;

static uint32_t table[256];
static atomic_int state;  // 0 unknown, 1 ISA-L answers rightly, 2 use the table

static void fill_table(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; bit++) {
      value = (value & 1) ? (value >> 1) ^ polynomial : value >> 1;
    }
    table[byte] = value;
  }
}

static uint32_t by_table(uint32_t seed, const uint8_t *bytes, size_t length) {
  uint32_t crc = ~seed;
  while (length--) {
    crc = (crc >> 8) ^ table[(crc ^ *bytes++) & 0xFF];
  }
  return ~crc;
}

static uint32_t by_isal(uint32_t seed, const uint8_t *bytes, size_t length) {
  uint32_t crc = ~seed;
  while (length > 0) {
    int part = length > (1 << 30) ? (1 << 30) : (int)length;
    crc = crc32_iscsi((unsigned char *)bytes, part, crc);
    bytes += part;
    length -= (size_t)part;
  }
  return ~crc;
}

static int choose(void) {
  fill_table();
  const uint8_t *digits = (const uint8_t *)"123456789";
  int chosen = by_isal(0, digits, 9) == 0xE3069283u ? 1 : 2;
  atomic_store_explicit(&state, chosen, memory_order_release);
  return chosen;
}

uint32_t pulse_crc32c(uint32_t seed, const void *bytes, size_t length) {
  int chosen = atomic_load_explicit(&state, memory_order_acquire);
  if (chosen == 0) chosen = choose();
  return chosen == 1 ? by_isal(seed, bytes, length) : by_table(seed, bytes, length);
}

uint32_t pulse_crc32c_reference(uint32_t seed, const void *bytes, size_t length) {
  if (atomic_load_explicit(&state, memory_order_acquire) == 0) choose();
  return by_table(seed, bytes, length);
}

uint64_t pulse_xxh3(uint64_t seed, const void *bytes, size_t length) {
  return XXH3_64bits_withSeed(bytes, length, seed);
}
