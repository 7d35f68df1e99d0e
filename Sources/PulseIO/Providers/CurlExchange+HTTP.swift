// A POST through libcurl: what it is told, and what its end means.

import CCurl
import Glibc
import PulseCore
import PulseDelivery

extension CurlExchange {
    /// Why a post cannot be sent as it is, or nil.
    static func objection(to request: HTTPRequest) -> ProviderAnswer? {
        guard request.url.utf8.allSatisfy({ $0 > 32 && $0 != 127 }) else {
            return .forbidden(reason: "the URL has a space or a control character in it")
        }
        for (name, value) in request.headers
        where name.isEmpty || (name + value).utf8.contains(where: { $0 < 32 && $0 != 9 }) {
            return .misconfigured(reason: "the header field \"\(name)\" has a line break in it")
        }
        return nil
    }

    func prepare(_ call: CallID, post request: HTTPRequest) {
        reset()
        self.call = call
        set(CURLOPT_URL, request.url)
        // Without "Expect", a large body would wait a second for a "100 Continue" that seldom comes.
        let fields = request.headers.map { name, value in
            value.isEmpty ? "\(name);" : "\(name): \(value)"
        }
        set(CURLOPT_HTTPHEADER, list: fields + ["Expect:"])
        pulse_curl_set_size(easy, CURLOPT_POSTFIELDSIZE_LARGE, Int64(request.body.count))
        request.body.withUnsafeBytes { body in
            // libcurl takes its copy here; without bytes, any address will do.
            let start = body.baseAddress ?? UnsafeRawPointer(easy)
            _ = pulse_curl_set_pointer(easy, CURLOPT_COPYPOSTFIELDS, start)
        }
        setTimeout(milliseconds: request.timeoutMilliseconds)
    }

    /// What became of the post.
    ///
    /// A status that arrived is an answer, however the transfer ended.
    func postAnswer(_ exit: CURLcode) -> ProviderAnswer {
        if reception.status != 0 {
            let seconds = pulse_curl_get_size(easy, CURLINFO_RETRY_AFTER)
            return .answered(
                code: reception.status,
                detail: AnswerDetail.text(reception.bodyPrefix),
                retryAfterSeconds: seconds > 0 ? seconds : nil
            )
        }
        if let forbiddenAddress, exit == CURLE_COULDNT_CONNECT {
            return .forbidden(reason: "\(forbiddenAddress) is not a public address")
        }
        let why = reason(exit)
        if exit == CURLE_URL_MALFORMAT || exit == CURLE_UNSUPPORTED_PROTOCOL {
            return .forbidden(reason: why)
        }
        let sent = pulse_curl_get_long(easy, CURLINFO_REQUEST_SIZE)
        return sent > 0 ? .lost(reason: why) : .notSent(reason: why)
    }
}

extension SocketAddress {
    /// Whether the address may be called on behalf of somebody outside.
    var isPublic: Bool {
        withSockaddr { address, _ in
            switch family {
            case AF_INET:
                address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    PublicAddress.includes(v4: UInt32(bigEndian: $0.pointee.sin_addr.s_addr))
                }
            case AF_INET6:
                address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                    withUnsafeBytes(of: $0.pointee.sin6_addr) {
                        PublicAddress.includes(v6: Array($0))
                    }
                }
            default: false
            }
        }
    }
}
