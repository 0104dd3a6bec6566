// Point reads from Go: `get URI KEYS SECONDS` does what get.c does.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"time"

	"coffer"
)

const batch = 1000

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: get URI KEYS SECONDS")
	}
	keys, err := strconv.ParseUint(os.Args[2], 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(os.Args[3], 64)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	store, err := coffer.Open(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	// Made beforehand: to write a number takes as long as to read a key.
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("key/%08d", i)
	}
	get := func(number uint64) {
		if _, err := store.Get(ctx, names[number]); err != nil {
			log.Fatal(err)
		}
	}
	began := time.Now()
	for i := range keys {
		get(i * 7919 % keys)
	}
	first := float64(time.Since(began)) / float64(keys)

	var times []float64
	state := uint64(1)
	for end := time.Now().Add(time.Duration(seconds * float64(time.Second))); time.Now().Before(end); {
		began := time.Now()
		for range batch {
			state = state*6364136223846793005 + 1442695040888963407
			get((state >> 33) % keys)
		}
		times = append(times, float64(time.Since(began))/batch)
	}
	slices.Sort(times)
	fmt.Printf("{\"bench\":\"embedded-get\",\"language\":\"go\",\"keys\":%d,\"first_ns\":%.0f,\"p50_ns\":%.0f,\"p10_ns\":%.0f}\n",
		keys, first, times[len(times)/2], times[len(times)/10])
}
