// Foreign text made fit to be kept and shown: one line, no control characters, a bounded length.

package enum SafeText {
    /// `text` with control characters and line separators turned into spaces, cut at a character
    /// boundary to at most `bytesMax` bytes.
    package static func line(_ text: some StringProtocol, bytesMax: Int) -> String {
        var result = String.UnicodeScalarView()
        var count = 0
        for scalar in text.unicodeScalars {
            let kept: Unicode.Scalar = isControl(scalar) ? " " : scalar
            count += UTF8.width(kept)
            if count > bytesMax { break }
            result.append(kept)
        }
        return String(result)
    }

    /// C0, DEL, C1, and the separators that some software takes for line ends.
    static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || scalar.value == 0x2028
            || scalar.value == 0x2029
    }
}
