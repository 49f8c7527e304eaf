// franz-go: an idempotent producer, fetch sessions, groups that rebalance cooperatively (kgo), the admin client (kadm).
package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"aquifer-interop/steps"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const records = 1000

var (
	ctx    = context.Background()
	client = connect()
	admin  = kadm.NewClient(client)
)

func main() {
	defer client.Close()
	steps.Run(
		steps.Step{Feature: "idempotent producer: keys, headers, every codec", Show: produce},
		steps.Step{Feature: "fetch sessions", Show: sessions},
		steps.Step{Feature: "group: cooperative rebalance, commit", Show: group},
		steps.Step{Feature: "kadm: create and delete topics", Show: topics},
		steps.Step{Feature: "kadm: create partitions", Show: partitions},
		steps.Step{Feature: "kadm: metadata, describe cluster", Show: metadata},
		steps.Step{Feature: "kadm: describe configs", Show: describeConfigs},
		steps.Step{Feature: "kadm: incremental alter configs", Show: alterConfigs},
		steps.Step{Feature: "kadm: list, describe and delete groups", Show: groups},
		steps.Step{Feature: "kadm: fetch, commit and delete group offsets, lag", Show: offsets},
		steps.Step{Feature: "kadm: list offsets", Show: listOffsets},
		steps.Step{Feature: "kadm: delete records", Show: deleteRecords},
		steps.Step{Feature: "kadm: describe log directories", Show: logDirs},
		steps.Step{Feature: "kadm: describe producers", Show: producers},
	)
}

func connect(options ...kgo.Opt) *kgo.Client {
	// Every answer's records are checked: kgo verifies CRCs by itself.
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(steps.Bootstrap()), kgo.MetadataMinAge(100 * time.Millisecond), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.RequestRetries(4),
	}, options...)...)
	if err != nil {
		panic(err)
	}
	return client
}

func makeTopic(name string, partitions int32) error {
	response, err := admin.CreateTopic(ctx, partitions, 1, nil, name)
	return steps.First(err, response.Err, visible(name))
}

// visible waits until the topic has leaders: Apache Kafka answers before its metadata says so.
func visible(name string) error {
	return steps.Until("leaders of "+name, func() bool {
		found, err := admin.ListStartOffsets(ctx, name)
		return err == nil && found.Error() == nil && len(found[name]) > 0
	})
}

// send produces numbered records, round robin over the partitions, and checks each acknowledged offset.
func send(topic string, partitions int32, count int, options ...kgo.Opt) error {
	producer := connect(append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5 * time.Millisecond)}, options...)...)
	defer producer.Close()
	var mutex sync.Mutex
	var failed error
	for i := 0; i < count; i++ {
		producer.Produce(ctx, record(topic, i, partitions), func(r *kgo.Record, err error) {
			mutex.Lock()
			defer mutex.Unlock()
			failed = steps.First(failed, err, steps.Equal("offset of record "+string(r.Key), int64(i)/int64(partitions), r.Offset))
		})
	}
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return steps.First(producer.Flush(limited), failed)
}

func record(topic string, i int, partitions int32) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Partition: int32(i) % partitions, Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "value %0200d", i),
		Headers:   []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}, {Key: "n", Value: []byte{0, 255}}, {Key: "null"}},
		Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)),
	}
}

func show(r *kgo.Record) string {
	return fmt.Sprintf("%d %s %s %v %d", r.Partition, r.Key, r.Value, r.Headers, r.Timestamp.UnixMilli())
}

// read polls until it has count records, sorted by their timestamps, which are those of sending.
func read(consumer *kgo.Client, count int) ([]*kgo.Record, error) {
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var found []*kgo.Record
	for len(found) < count {
		fetches := consumer.PollFetches(limited)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", len(found), count, err)
		}
		for _, err := range fetches.Errors() {
			return nil, err.Err
		}
		found = append(found, fetches.Records()...)
	}
	sort.SliceStable(found, func(a, b int) bool { return found[a].Timestamp.Before(found[b].Timestamp) })
	return found, steps.Equal("records", count, len(found))
}

func produce() error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		topic := "codec-" + name
		if err := steps.First(makeTopic(topic, 2), send(topic, 2, records, kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(20_000))); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		consumer := connect(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		found, err := read(consumer, records)
		consumer.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for i, r := range found {
			if err := steps.Equal(fmt.Sprintf("%s: record %d", name, i), show(record(topic, i, 2)), show(r)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sessions fetches with raw requests: a session is opened, an incremental fetch without a change names no partition and
// gets only what is new, a wrong epoch and a forgotten session are refused.
func sessions() error {
	const topic = "sessions"
	if err := steps.First(makeTopic(topic, 2), send(topic, 2, 10)); err != nil {
		return err
	}
	described, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	id := described[topic].ID
	fetch := func(session, epoch int32, partitions ...int32) (*kmsg.FetchResponse, error) {
		request := kmsg.NewPtrFetchRequest()
		request.MaxWaitMillis, request.MinBytes, request.MaxBytes = 200, 1, 1<<20
		request.SessionID, request.SessionEpoch = session, epoch
		if len(partitions) > 0 {
			asked := kmsg.NewFetchRequestTopic()
			asked.Topic, asked.TopicID = topic, id
			for _, partition := range partitions {
				one := kmsg.NewFetchRequestTopicPartition()
				one.Partition, one.FetchOffset, one.PartitionMaxBytes = partition, 5, 1<<20
				asked.Partitions = append(asked.Partitions, one)
			}
			request.Topics = append(request.Topics, asked)
		}
		answer, err := client.Broker(0).Request(ctx, request)
		if err != nil {
			return nil, err
		}
		return answer.(*kmsg.FetchResponse), nil
	}
	count := func(answer *kmsg.FetchResponse) int {
		total := 0
		for _, topic := range answer.Topics {
			total += len(topic.Partitions)
		}
		return total
	}

	opened, err := fetch(0, 0, 0, 1)
	if err != nil {
		return err
	}
	if err := steps.First(kerr.ErrorForCode(opened.ErrorCode), steps.Equal("partitions of a full fetch", 2, count(opened))); err != nil {
		return err
	}
	if opened.SessionID == 0 {
		return errors.New("no session was opened")
	}
	unchanged, err := fetch(opened.SessionID, 1)
	if err != nil {
		return err
	}
	if err := steps.First(kerr.ErrorForCode(unchanged.ErrorCode), steps.Equal("session", opened.SessionID, unchanged.SessionID), steps.Equal("partitions without news", 0, count(unchanged))); err != nil {
		return err
	}
	if results := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("new")}); results.FirstErr() != nil {
		return results.FirstErr()
	}
	news, err := fetch(opened.SessionID, 2)
	if err != nil {
		return err
	}
	if err := steps.First(kerr.ErrorForCode(news.ErrorCode), steps.Equal("partitions with news", 1, count(news))); err != nil {
		return err
	}
	wrong, err := fetch(opened.SessionID, 7)
	if err != nil {
		return err
	}
	unknown, err := fetch(opened.SessionID+1, 1)
	if err != nil {
		return err
	}
	return steps.First(
		steps.Equal("a wrong epoch", kerr.InvalidFetchSessionEpoch.Code, wrong.ErrorCode),
		steps.Equal("an unknown session", kerr.FetchSessionIDNotFound.Code, unknown.ErrorCode),
	)
}

// member is a consumer of a group; what it holds is kept by its callbacks.
type member struct {
	*kgo.Client
	mutex   sync.Mutex
	held    map[int32]bool
	revoked map[int32]bool
	seen    map[string]int
	stop    context.CancelFunc
	done    chan struct{}
}

func join(group, topic string) *member {
	polling, stop := context.WithCancel(ctx)
	m := &member{held: map[int32]bool{}, revoked: map[int32]bool{}, seen: map[string]int{}, stop: stop, done: make(chan struct{})}
	mark := func(assigned, revoked map[string][]int32) {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		for _, partition := range assigned[topic] {
			m.held[partition] = true
		}
		for _, partition := range revoked[topic] {
			delete(m.held, partition)
			m.revoked[partition] = true
		}
	}
	m.Client = connect(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { mark(p, nil) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { mark(nil, p) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { mark(nil, p) }),
	)
	go func() {
		defer close(m.done)
		for polling.Err() == nil {
			m.PollFetches(polling).EachRecord(func(r *kgo.Record) {
				m.mutex.Lock()
				m.seen[string(r.Key)]++
				m.mutex.Unlock()
			})
		}
	}()
	return m
}

func (m *member) holds() []int32 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	held := []int32{}
	for partition := range m.held {
		held = append(held, partition)
	}
	sort.Slice(held, func(a, b int) bool { return held[a] < held[b] })
	return held
}

// leave commits what was read and leaves the group.
func (m *member) leave() error {
	m.stop()
	<-m.done
	err := m.CommitUncommittedOffsets(ctx)
	m.LeaveGroup()
	m.Close()
	return err
}

func group() error {
	const topic, name = "grouped", "franz"
	if err := makeTopic(topic, 4); err != nil {
		return err
	}
	all := []int32{0, 1, 2, 3}
	first := join(name, topic)
	if err := steps.Until("all partitions with the first", func() bool { return steps.Equal("", all, first.holds()) == nil }); err != nil {
		return err
	}
	second := join(name, topic)
	if err := steps.Until("two and two", func() bool { return len(first.holds()) == 2 && len(second.holds()) == 2 }); err != nil {
		return err
	}
	if err := steps.First(steps.Equal("partitions that the first gave up", 2, len(first.revoked)), send(topic, 4, records)); err != nil {
		return err
	}
	seen := func() map[string]int {
		together := map[string]int{}
		for _, m := range []*member{first, second} {
			m.mutex.Lock()
			for key, times := range m.seen {
				together[key] += times
			}
			m.mutex.Unlock()
		}
		return together
	}
	if err := steps.Until("every record", func() bool { return len(seen()) == records }); err != nil {
		return err
	}
	for key, times := range seen() {
		if times != 1 {
			return fmt.Errorf("record %s was read %d times", key, times)
		}
	}
	if err := second.leave(); err != nil {
		return err
	}
	if err := steps.Until("all partitions again", func() bool { return steps.Equal("", all, first.holds()) == nil }); err != nil {
		return err
	}
	if err := first.leave(); err != nil {
		return err
	}
	lags, err := admin.Lag(ctx, name)
	if err != nil {
		return err
	}
	lag := lags[name]
	return steps.First(lag.Error(), steps.Equal("state", "Empty", lag.State), steps.Equal("lag", int64(0), lag.Lag.Total()))
}
