// Package steps is what the Go programs share: functions that each show a feature, run one after the other.
package steps

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"time"
)

// Step shows one feature or returns what went wrong.
type Step struct {
	Feature string
	Show    func() error
}

// Run calls each step and prints a line for the rig to read. A step that fails does not hide the next.
func Run(steps ...Step) {
	for _, step := range steps {
		var said *string
		if err := step.Show(); err != nil {
			text := err.Error()
			said = &text
		}
		line, _ := json.Marshal(struct {
			Feature string  `json:"feature"`
			Error   *string `json:"error"`
		}{step.Feature, said})
		fmt.Println(string(line))
	}
}

// Bootstrap is the broker's address.
func Bootstrap() string { return os.Args[1] }

// Equal is an error that shows the difference, or nil.
func Equal(what string, expected, found any) error {
	if reflect.DeepEqual(expected, found) {
		return nil
	}
	return fmt.Errorf("%s: expected %.200s, found %.200s", what, fmt.Sprint(expected), fmt.Sprint(found))
}

// Until waits up to 20 s for a condition.
func Until(what string, condition func() bool) error {
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("not within 20 s: %s", what)
		}
	}
	return nil
}

// First is the first error that is not nil.
func First(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
