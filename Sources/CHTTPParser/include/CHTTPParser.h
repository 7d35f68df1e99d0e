// HTTP/1.1 requests from bytes: Boost.Beast's parser behind plain C, with the checks it leaves us.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Text borrowed from the parser until the next `put`, `next` or `destroy`; `bytes` is null when
/// the request did not have it.
typedef struct {
    const char *bytes;
    size_t count;
} pulse_http_text;

/// How far the current request has come.
typedef enum {
    /// Bytes of the head are missing (or none has come).
    PULSE_HTTP_IN_HEAD = 0,
    /// The head is complete and checked; bytes of the body are missing.
    PULSE_HTTP_IN_BODY = 1,
    /// The request is complete; `next` makes room for another.
    PULSE_HTTP_COMPLETE = 2,
    /// The bytes are no acceptable request, and nothing after them can be trusted.
    PULSE_HTTP_FAILED = 3,
} pulse_http_state;

typedef enum {
    PULSE_HTTP_FINE = 0,
    PULSE_HTTP_MALFORMED = 1,
    PULSE_HTTP_HEAD_TOO_LARGE = 2,
    PULSE_HTTP_BODY_TOO_LARGE = 3,
    PULSE_HTTP_NO_MEMORY = 4,
    /// `Expect` asks for something other than `100-continue`.
    PULSE_HTTP_UNMET_EXPECTATION = 5,
} pulse_http_fault;

typedef struct {
    pulse_http_state state;
    pulse_http_fault fault;
    /// A static sentence about the fault.
    const char *reason;
    /// 10 or 11.
    int version;
    /// Whether the connection may serve another request after this one.
    bool keep_alive;
    /// Whether any byte of this request has been seen.
    bool started;
    /// Whether the client waits for 100 Continue before it sends the body.
    bool expects_continue;
    pulse_http_text method, target, content_type, accept, idempotency_key, body;
} pulse_http_message;

typedef struct pulse_http_parser pulse_http_parser;

/// A parser for one connection, or null when memory is short. `head_max` also bounds one chunk
/// header or the trailers; `body_max` bounds the decoded body, and the bytes spent on chunking.
pulse_http_parser *pulse_http_create(size_t head_max, size_t fields_max, size_t body_max);
void pulse_http_destroy(pulse_http_parser *parser);

/// Feeds bytes to the current request and tells in `consumed` how many belong to it: all of them,
/// unless the request became complete or failed. What is incomplete is kept inside.
const pulse_http_message *pulse_http_put(
    pulse_http_parser *parser, const void *bytes, size_t count, size_t *consumed);

/// Forgets the current request and waits for the next; its texts are no longer valid.
void pulse_http_next(pulse_http_parser *parser);

#ifdef __cplusplus
}
#endif
