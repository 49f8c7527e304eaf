package main

import (
	"fmt"

	"aquifer-interop/steps"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func topics() error {
	retention := "7200000"
	created, err := admin.CreateTopics(ctx, 3, 1, map[string]*string{"retention.ms": &retention}, "made", "unmade")
	if err := steps.First(err, created.Error()); err != nil {
		return err
	}
	again, err := admin.CreateTopic(ctx, 1, 1, nil, "made")
	if err := steps.Equal("created twice", kerr.TopicAlreadyExists, again.Err); err != nil {
		return err
	}
	checked, err := admin.ValidateCreateTopics(ctx, 1, 1, nil, "validated")
	if err := steps.First(err, checked.Error()); err != nil {
		return err
	}
	deleted, err := admin.DeleteTopics(ctx, "unmade")
	if err := steps.First(err, deleted.Error()); err != nil {
		return err
	}
	return steps.Until("only one is left", func() bool {
		found, err := admin.ListTopics(ctx, "made", "unmade", "validated")
		return err == nil && found["made"].Err == nil && len(found["made"].Partitions) == 3 &&
			found["unmade"].Err == kerr.UnknownTopicOrPartition && found["validated"].Err == kerr.UnknownTopicOrPartition
	})
}

func partitions() error {
	if err := makeTopic("grows", 2); err != nil {
		return err
	}
	grown, err := admin.UpdatePartitions(ctx, 5, "grows")
	if err := steps.First(err, grown.Error()); err != nil {
		return err
	}
	if err := steps.Until("five partitions", func() bool {
		found, err := admin.ListTopics(ctx, "grows")
		return err == nil && len(found["grows"].Partitions) == 5
	}); err != nil {
		return err
	}
	shrunk, err := admin.UpdatePartitions(ctx, 3, "grows")
	return steps.First(err, steps.Equal("fewer partitions", kerr.InvalidPartitions, shrunk["grows"].Err))
}

func metadata() error {
	if err := makeTopic("described", 2); err != nil {
		return err
	}
	found, err := admin.Metadata(ctx, "described")
	if err != nil {
		return err
	}
	node := found.Brokers[0]
	request := kmsg.NewPtrDescribeClusterRequest()
	cluster, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	topic := found.Topics["described"]
	return steps.First(
		topic.Err, steps.Equal("address", steps.Bootstrap(), fmt.Sprintf("%s:%d", node.Host, node.Port)),
		steps.Equal("partitions", 2, len(topic.Partitions)), steps.Equal("leader", node.NodeID, topic.Partitions[1].Leader),
		steps.Equal("has an id", true, topic.ID != kadm.TopicID{}),
		kerr.ErrorForCode(cluster.ErrorCode), steps.Equal("cluster ids", found.Cluster, cluster.ClusterID),
	)
}

// topicConfig is the value of one key, and whether it is the topic's own.
func topicConfig(topic, key string) (string, error) {
	found, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return "", err
	}
	configs, err := found.On(topic, nil)
	if err := steps.First(err, configs.Err); err != nil {
		return "", err
	}
	for _, config := range configs.Configs {
		if config.Key == key {
			return fmt.Sprintf("%s %s", config.MaybeValue(), config.Source), nil
		}
	}
	return "", fmt.Errorf("no %s among the configs of %s", key, topic)
}

func describeConfigs() error {
	retention := "7200000"
	if _, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": &retention}, "configured"); err != nil {
		return err
	}
	if err := visible("configured"); err != nil {
		return err
	}
	own, err := topicConfig("configured", "retention.ms")
	if err != nil {
		return err
	}
	standard, err := topicConfig("configured", "cleanup.policy")
	if err != nil {
		return err
	}
	brokers, err := admin.DescribeBrokerConfigs(ctx, 0)
	if err != nil {
		return err
	}
	broker, err := brokers.On("0", nil)
	return steps.First(
		err, broker.Err, steps.Equal("its own", "7200000 DYNAMIC_TOPIC_CONFIG", own),
		steps.Equal("by default", "delete DEFAULT_CONFIG", standard), steps.Equal("some of the broker", true, len(broker.Configs) > 10),
	)
}

func alterConfigs() error {
	if err := makeTopic("altered", 1); err != nil {
		return err
	}
	alter := func(change kadm.AlterConfig) error {
		answers, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, "altered")
		if err != nil {
			return err
		}
		answer, err := answers.On("altered", nil)
		return steps.First(err, answer.Err)
	}
	value := func(expected string) error {
		found, err := topicConfig("altered", "cleanup.policy")
		return steps.First(err, steps.Equal("cleanup.policy", expected, found))
	}
	compact, nonsense := "compact", "nonsense"
	if err := steps.First(
		alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &compact}), value("compact DYNAMIC_TOPIC_CONFIG"),
		alter(kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "cleanup.policy"}), value("delete DEFAULT_CONFIG"),
	); err != nil {
		return err
	}
	refused := alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &nonsense})
	return steps.Equal("nonsense", error(kerr.InvalidConfig), refused)
}

func groups() error {
	const topic, name = "read-by-a-group", "described-group"
	if err := makeTopic(topic, 2); err != nil {
		return err
	}
	reader := join(name, topic)
	if err := steps.Until("an assignment", func() bool { return len(reader.holds()) == 2 }); err != nil {
		return err
	}
	listed, err := admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	described, err := admin.DescribeGroups(ctx, name)
	if err != nil {
		return err
	}
	found := described[name]
	if err := steps.First(
		steps.Equal("listed", "Stable", listed[name].State), found.Err, steps.Equal("state", "Stable", found.State),
		steps.Equal("protocol", "cooperative-sticky", found.Protocol), steps.Equal("members", 1, len(found.Members)),
		steps.Equal("partitions", map[string][]int32{topic: {0, 1}}, assigned(found)),
	); err != nil {
		return err
	}
	refused, err := admin.DeleteGroup(ctx, name)
	if err := steps.Equal("a group with a member", error(kerr.NonEmptyGroup), steps.First(err, refused.Err)); err != nil {
		return err
	}
	if err := reader.leave(); err != nil {
		return err
	}
	deleted, err := admin.DeleteGroup(ctx, name)
	if err := steps.First(err, deleted.Err); err != nil {
		return err
	}
	again, err := admin.DeleteGroup(ctx, name)
	return steps.Equal("a group that is gone", error(kerr.GroupIDNotFound), steps.First(err, again.Err))
}

func assigned(group kadm.DescribedGroup) map[string][]int32 {
	partitions := map[string][]int32{}
	for topic, set := range group.AssignedPartitions() {
		for partition := range set {
			partitions[topic] = append(partitions[topic], partition)
		}
		if held := partitions[topic]; len(held) == 2 && held[0] > held[1] {
			held[0], held[1] = held[1], held[0]
		}
	}
	return partitions
}

func offsets() error {
	const topic, name = "committed", "offsets-group"
	if err := steps.First(makeTopic(topic, 2), send(topic, 2, 20)); err != nil {
		return err
	}
	wanted := kadm.Offsets{}
	wanted.Add(kadm.Offset{Topic: topic, Partition: 0, At: 4, LeaderEpoch: -1, Metadata: "four"})
	wanted.Add(kadm.Offset{Topic: topic, Partition: 1, At: 10, LeaderEpoch: -1})
	if err := admin.CommitAllOffsets(ctx, name, wanted); err != nil {
		return err
	}
	found, err := admin.FetchOffsets(ctx, name)
	if err := steps.First(err, found.Error()); err != nil {
		return err
	}
	four, _ := found.Lookup(topic, 0)
	ten, _ := found.Lookup(topic, 1)
	if err := steps.First(
		steps.Equal("committed", []any{int64(4), "four"}, []any{four.At, four.Metadata}),
		steps.Equal("committed", []any{int64(10), ""}, []any{ten.At, ten.Metadata}),
	); err != nil {
		return err
	}
	lags, err := admin.Lag(ctx, name)
	lag := lags[name]
	if err := steps.First(err, lag.Error(), steps.Equal("lag", int64(6), lag.Lag.Total())); err != nil {
		return err
	}
	gone := kadm.TopicsSet{}
	gone.Add(topic, 1)
	deleted, err := admin.DeleteOffsets(ctx, name, gone)
	if err := steps.First(err, deleted.Error()); err != nil {
		return err
	}
	found, err = admin.FetchOffsets(ctx, name)
	_, still := found.Lookup(topic, 1)
	return steps.First(err, steps.Equal("still there", false, still))
}

func listOffsets() error {
	const topic = "offsets"
	if err := steps.First(makeTopic(topic, 1), send(topic, 1, 100)); err != nil {
		return err
	}
	at := func(found kadm.ListedOffsets, err error) int64 {
		offset, ok := found.Lookup(topic, 0)
		if err != nil || !ok || offset.Err != nil {
			return -100
		}
		return offset.Offset
	}
	return steps.First(
		steps.Equal("start", int64(0), at(admin.ListStartOffsets(ctx, topic))),
		steps.Equal("end", int64(100), at(admin.ListEndOffsets(ctx, topic))),
		steps.Equal("committed end", int64(100), at(admin.ListCommittedOffsets(ctx, topic))),
		steps.Equal("of the largest timestamp", int64(99), at(admin.ListMaxTimestampOffsets(ctx, topic))),
		steps.Equal("after a time", int64(42), at(admin.ListOffsetsAfterMilli(ctx, 1_700_000_000_042, topic))),
	)
}

func deleteRecords() error {
	const topic = "shortened"
	if err := steps.First(makeTopic(topic, 1), send(topic, 1, 100)); err != nil {
		return err
	}
	until := kadm.Offsets{}
	until.Add(kadm.Offset{Topic: topic, Partition: 0, At: 60})
	deleted, err := admin.DeleteRecords(ctx, until)
	if err := steps.First(err, deleted.Error()); err != nil {
		return err
	}
	answer, _ := deleted.Lookup(topic, 0)
	starts, err := admin.ListStartOffsets(ctx, topic)
	start, _ := starts.Lookup(topic, 0)
	return steps.First(err, steps.Equal("low watermark", int64(60), answer.LowWatermark), steps.Equal("start", int64(60), start.Offset))
}

func logDirs() error {
	const topic = "sized"
	if err := steps.First(makeTopic(topic, 1), send(topic, 1, 100)); err != nil {
		return err
	}
	all, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return err
	}
	size := int64(0)
	for _, dirs := range all {
		if err := dirs.Error(); err != nil {
			return err
		}
		for _, dir := range dirs {
			if partition, ok := dir.Topics.Lookup(topic, 0); ok {
				size += partition.Size
			}
		}
	}
	return steps.Equal("the topic has a size", true, size > 0)
}

func producers() error {
	const topic = "produced"
	if err := steps.First(makeTopic(topic, 1), send(topic, 1, 10)); err != nil {
		return err
	}
	asked := kadm.TopicsSet{}
	asked.Add(topic, 0)
	found, err := admin.DescribeProducers(ctx, asked)
	found.EachPartition(func(partition kadm.DescribedProducersPartition) { err = steps.First(err, partition.Err) })
	if err != nil {
		return err
	}
	active := found.SortedProducers()
	if err := steps.Equal("producers", 1, len(active)); err != nil {
		return err
	}
	return steps.First(steps.Equal("last sequence", int32(9), active[0].LastSequence), steps.Equal("has an id", true, active[0].ProducerID >= 0))
}
