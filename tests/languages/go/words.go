package main

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// decode says which bytes a word stands for: `@LENGTH:SEED` for so many, `%XX` for one, a lone `%` for none.
func decode(word string) string {
	var length int
	var state uint64
	if _, err := fmt.Sscanf(word, "@%d:%d", &length, &state); err == nil {
		pattern := make([]byte, length)
		for i := range pattern {
			state = state*6364136223846793005 + 1442695040888963407
			pattern[i] = byte(state >> 56)
		}
		return string(pattern)
	}
	if word == "%" {
		return ""
	}
	var decoded strings.Builder
	for i := 0; i < len(word); i++ {
		if word[i] != '%' {
			decoded.WriteByte(word[i])
			continue
		}
		value, err := strconv.ParseUint(word[i+1:i+3], 16, 8)
		if err != nil {
			panic(err)
		}
		decoded.WriteByte(byte(value))
		i += 2
	}
	return decoded.String()
}

// encode is the other way; what is long is written as length and digest.
func encode[Bytes string | []byte](bytes Bytes) string {
	if len(bytes) > 256 {
		digest := fnv.New64a()
		digest.Write([]byte(bytes))
		return fmt.Sprintf("#%d:%016x", len(bytes), digest.Sum64())
	}
	if len(bytes) == 0 {
		return "%"
	}
	var encoded strings.Builder
	for _, b := range []byte(bytes) {
		if b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || strings.IndexByte("/._~-", b) >= 0 {
			encoded.WriteByte(b)
		} else {
			fmt.Fprintf(&encoded, "%%%02X", b)
		}
	}
	return encoded.String()
}

func number(word string) int64 {
	value, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		panic(err)
	}
	return value
}
