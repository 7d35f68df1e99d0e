// LZ4 frames, whole ones only: what Kafka's record batches of codec 3 carry.
#pragma once
#include <stddef.h>

/// The most bytes a frame around `length` bytes can take.
size_t pulse_lz4_frame_bound(size_t length);

/// Writes one frame around `source`; returns its bytes, or 0 when it does not fit `capacity` or there
/// is no memory. The content's size stands in the frame's header.
size_t pulse_lz4_compress(void *target, size_t capacity, const void *source, size_t length);

/// The size that the frame in `source` says its content has; 0 when it says none or is no frame.
unsigned long long pulse_lz4_stated_size(const void *source, size_t length);

/// What `pulse_lz4_inflate` answers when it does not answer a size.
enum { PULSE_LZ4_MALFORMED = -1, PULSE_LZ4_TOO_LARGE = -2 };

/// Inflates exactly one frame that fills `source`, into at most `capacity` bytes; returns how many.
ptrdiff_t pulse_lz4_inflate(void *target, size_t capacity, const void *source, size_t length);
