// LZ4 frames through liblz4. A frame's stated size is never believed: the target is bounded.
#include "CLZ4.h"
#include <lz4frame.h>
#include <stdbool.h>
#include <string.h>

static LZ4F_preferences_t preferences(size_t length) {
    LZ4F_preferences_t preferences;
    memset(&preferences, 0, sizeof preferences);
    preferences.frameInfo.blockMode = LZ4F_blockIndependent;
    preferences.frameInfo.contentSize = length;
    preferences.autoFlush = 1;
    return preferences;
}

size_t pulse_lz4_frame_bound(size_t length) {
    LZ4F_preferences_t chosen = preferences(length);
    return LZ4F_compressFrameBound(length, &chosen);
}

size_t pulse_lz4_compress(void *target, size_t capacity, const void *source, size_t length) {
    LZ4F_preferences_t chosen = preferences(length);
    size_t written = LZ4F_compressFrame(target, capacity, source, length, &chosen);
    return LZ4F_isError(written) ? 0 : written;
}

unsigned long long pulse_lz4_stated_size(const void *source, size_t length) {
    LZ4F_dctx *context = NULL;
    LZ4F_frameInfo_t info;
    size_t read = length;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION))) return 0;
    size_t answer = LZ4F_getFrameInfo(context, &info, source, &read);
    LZ4F_freeDecompressionContext(context);
    return LZ4F_isError(answer) ? 0 : info.contentSize;
}

ptrdiff_t pulse_lz4_inflate(void *target, size_t capacity, const void *source, size_t length) {
    LZ4F_dctx *context = NULL;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION))) {
        return PULSE_LZ4_MALFORMED;
    }
    size_t consumed = 0, produced = 0;
    ptrdiff_t answer = PULSE_LZ4_MALFORMED;
    bool ended = false;
    while (!ended) {
        size_t room = capacity - produced, more = length - consumed;
        size_t hint = LZ4F_decompress(
            context, (char *)target + produced, &room, (const char *)source + consumed, &more, NULL);
        if (LZ4F_isError(hint)) break;
        consumed += more;
        produced += room;
        if (hint == 0) {
            ended = true;
        } else if (more == 0 && room == 0) {
            // Nothing moves: the input ends too early, or there is more than the target takes.
            if (consumed < length) answer = PULSE_LZ4_TOO_LARGE;
            break;
        }
    }
    // Several frames, or anything behind the one, are not a batch of ours.
    if (ended && consumed == length) answer = (ptrdiff_t)produced;
    LZ4F_freeDecompressionContext(context);
    return answer;
}
