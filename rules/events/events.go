// Package events writes event logs: files of scalars and histograms that TensorBoard shows.
//
//	log, err := events.Open("runs/backprop", trainer.Steps())
//	...
//	err = log.Scalar("loss", step, loss)
//	err = log.Histogram("weight/dense1", step, trainer.Params().Get("dense1/weight").Value)
//
// Then tensorboard --logdir runs shows the runs side by side. A log is a TFRecord file of Event messages: for each the
// length of the message in 8 bytes, a masked CRC-32C of these, the message, a masked CRC-32C of it, all little-endian.
// An event is written by one call to the system, so a process that is killed leaves at most one unfinished record at the
// end; readers ignore it, and Open removes it.
package events

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/pkg/errors"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/harpe-ml/harpe/graph"
)

// FileName is what a log is called in its folder. TensorBoard looks for "tfevents" in the name.
const FileName = "events.out.tfevents.harpe"

// Numbers of the fields of tensorboard.Event, Summary, Summary.Value and HistogramProto in event.proto, summary.proto
// and histogram.proto.
const (
	eventWallTime    protowire.Number = 1
	eventStep        protowire.Number = 2
	eventFileVersion protowire.Number = 3
	eventSummary     protowire.Number = 5

	summaryValue protowire.Number = 1
	valueTag     protowire.Number = 1
	valueSimple  protowire.Number = 2
	valueHisto   protowire.Number = 5

	histoMin        protowire.Number = 1
	histoMax        protowire.Number = 2
	histoNum        protowire.Number = 3
	histoSum        protowire.Number = 4
	histoSumSquares protowire.Number = 5
	histoLimit      protowire.Number = 6
	histoBucket     protowire.Number = 7
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Log is an open event log. It is not safe for concurrent use.
type Log struct {
	file    *os.File
	message []byte // of the last event, and its record
	record  []byte
	counts  []float64 // of a histogram's buckets
}

// Open opens the log of a run in a folder, which is made if missing, to go on after the given number of steps: what an
// earlier process logged of later steps is removed, and so is an unfinished or damaged record with all that follows. A
// run that starts anew has made 0 steps.
func Open(folder string, steps int) (*Log, error) {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return nil, errors.Wrap(err, "events")
	}
	f, err := os.OpenFile(filepath.Join(folder, FileName), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, errors.Wrap(err, "events")
	}
	l := &Log{file: f}
	if err := l.rewind(steps); err != nil {
		f.Close()
		return nil, errors.Wrapf(err, "events: %s", f.Name())
	}
	return l, nil
}

// rewind truncates the file after the last whole record of at most the given step, and writes the first one of a new
// file.
func (l *Log) rewind(steps int) error {
	end, r := int64(0), bufio.NewReader(l.file)
	for {
		message, err := readRecord(r)
		if err != nil {
			return err
		}
		if message == nil {
			break
		}
		if step, ok := stepOf(message); !ok || step > int64(steps) {
			break
		}
		end += recordBytes + int64(len(message))
	}
	if err := l.file.Truncate(end); err != nil {
		return err
	}
	if _, err := l.file.Seek(end, io.SeekStart); err != nil || end > 0 {
		return err
	}
	l.begin(0)
	l.message = protowire.AppendTag(l.message, eventFileVersion, protowire.BytesType)
	l.message = protowire.AppendString(l.message, "brain.Event:2")
	return l.write()
}

// recordBytes is what a record has beside its message.
const recordBytes = 8 + 4 + 4

// mostBytes is the largest message that is read back; longer ones count as damage.
const mostBytes = 1 << 24

// readRecord is the next message, nil at the end or where a record is unfinished or damaged. An error is the file's.
func readRecord(r io.Reader) (message []byte, err error) {
	var head [12]byte
	if ok, err := readFull(r, head[:]); !ok {
		return nil, err
	}
	size := binary.LittleEndian.Uint64(head[:8])
	if size > mostBytes || binary.LittleEndian.Uint32(head[8:]) != masked(head[:8]) {
		return nil, nil
	}
	body := make([]byte, size+4)
	if ok, err := readFull(r, body); !ok || binary.LittleEndian.Uint32(body[size:]) != masked(body[:size]) {
		return nil, err
	}
	return body[:size], nil
}

// readFull says whether there was enough to fill b.
func readFull(r io.Reader, b []byte) (ok bool, err error) {
	_, err = io.ReadFull(r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return false, nil
	}
	return err == nil, err
}

// stepOf is the step of an event.
func stepOf(message []byte) (step int64, ok bool) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return 0, false
		}
		message = message[n:]
		if number == eventStep && kind == protowire.VarintType {
			v, n := protowire.ConsumeVarint(message)
			if n < 0 {
				return 0, false
			}
			step, message = int64(v), message[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return 0, false
		}
		message = message[n:]
	}
	return step, true
}

// Scalar logs a number under a tag, such as "loss" or "validation/accuracy"; TensorBoard groups tags by what stands
// before the slash.
func (l *Log) Scalar(tag string, step int, v float64) error {
	return l.value(tag, step, func(b []byte) []byte {
		b = protowire.AppendTag(b, valueSimple, protowire.Fixed32Type)
		return protowire.AppendFixed32(b, math.Float32bits(float32(v)))
	})
}

// Histogram logs how the finite elements of an array are distributed, in buckets that grow by a tenth from 1e-12 to 1e20
// to both sides of 0, as TensorFlow's are.
func (l *Log) Histogram(tag string, step int, a *graph.Array) error {
	return l.value(tag, step, func(b []byte) []byte {
		b = protowire.AppendTag(b, valueHisto, protowire.BytesType)
		return protowire.AppendBytes(b, l.histogram(a))
	})
}

// limits are the upper ends of the buckets: v is in bucket i if limits[i-1] <= v < limits[i].
var limits = func() []float64 {
	var up []float64
	for v := 1e-12; v < 1e20; v *= 1.1 {
		up = append(up, v)
	}
	up = append(up, math.MaxFloat64)
	var all []float64
	for _, v := range slices.Backward(up) {
		all = append(all, -v)
	}
	return append(append(all, 0), up...)
}()

// histogram is a HistogramProto. Of neighbouring empty buckets it has one.
func (l *Log) histogram(a *graph.Array) []byte {
	if l.counts == nil {
		l.counts = make([]float64, len(limits))
	}
	clear(l.counts)
	low, high := math.Inf(1), math.Inf(-1)
	var n, sum, squares float64
	for i := range a.Size() {
		v := a.At(i)
		if v-v != 0 {
			continue
		}
		low, high = min(low, v), max(high, v)
		n, sum, squares = n+1, sum+v, squares+v*v
		at, exact := slices.BinarySearch(limits, v)
		if exact {
			at++
		}
		l.counts[min(at, len(limits)-1)]++
	}
	if n == 0 {
		low, high = 0, 0
	}
	var b []byte
	for _, f := range []struct {
		number protowire.Number
		value  float64
	}{{histoMin, low}, {histoMax, high}, {histoNum, n}, {histoSum, sum}, {histoSumSquares, squares}} {
		b = appendDouble(b, f.number, f.value)
	}
	var ends, counts []byte
	for i, c := range l.counts {
		if c == 0 && i+1 < len(limits) && l.counts[i+1] == 0 {
			continue
		}
		ends = protowire.AppendFixed64(ends, math.Float64bits(limits[i]))
		counts = protowire.AppendFixed64(counts, math.Float64bits(c))
	}
	b = protowire.AppendBytes(protowire.AppendTag(b, histoLimit, protowire.BytesType), ends)
	return protowire.AppendBytes(protowire.AppendTag(b, histoBucket, protowire.BytesType), counts)
}

func appendDouble(b []byte, number protowire.Number, v float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, number, protowire.Fixed64Type), math.Float64bits(v))
}

// value writes an event with a summary of one value.
func (l *Log) value(tag string, step int, content func([]byte) []byte) error {
	if step < 0 {
		return graph.Fail("events", "step", "at least 0", step)
	}
	if !utf8.ValidString(tag) || tag == "" {
		return graph.Fail("events", "tag", "UTF-8 text", strconv.Quote(tag))
	}
	v := protowire.AppendString(protowire.AppendTag(nil, valueTag, protowire.BytesType), tag)
	v = content(v)
	s := protowire.AppendBytes(protowire.AppendTag(nil, summaryValue, protowire.BytesType), v)
	l.begin(step)
	l.message = protowire.AppendBytes(protowire.AppendTag(l.message, eventSummary, protowire.BytesType), s)
	return l.write()
}

// begin starts an event.
func (l *Log) begin(step int) {
	l.message = appendDouble(l.message[:0], eventWallTime, float64(time.Now().UnixNano())/1e9)
	l.message = protowire.AppendVarint(protowire.AppendTag(l.message, eventStep, protowire.VarintType), uint64(step))
}

// write writes the event as a record, in one piece.
func (l *Log) write() error {
	b := binary.LittleEndian.AppendUint64(l.record[:0], uint64(len(l.message)))
	b = binary.LittleEndian.AppendUint32(b, masked(b))
	b = append(b, l.message...)
	l.record = binary.LittleEndian.AppendUint32(b, masked(l.message))
	_, err := l.file.Write(l.record)
	return errors.Wrap(err, "events")
}

// masked is the CRC of a record: one of data that hold CRCs themselves is not to look like theirs.
func masked(b []byte) uint32 {
	sum := crc32.Checksum(b, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// Close brings the log to the disk and closes it.
func (l *Log) Close() error {
	err := l.file.Sync()
	if e := l.file.Close(); err == nil {
		err = e
	}
	return errors.Wrap(err, "events")
}
